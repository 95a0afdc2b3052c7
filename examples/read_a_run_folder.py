"""What a run holds: its state, its last figures, and one trajectory that called code; no torch.

python examples/read_a_run_folder.py runs/rl
"""

import sys
from pathlib import Path

from air_reasoning.run_reader import read_metrics, read_status, read_trajectories

run = Path(sys.argv[1])
status = read_status(run)
print(f"air {status['command']}: {status['state']}, {status['updated']}")
for line in read_metrics(run)[-1:]:
    for name in ("step", "accuracy", "code_share_easy", "code_share_hard", "reward/total"):
        print(f"  {name:16} {line.get(name)}")
rows = list(read_trajectories(run))
print(f"{len(rows)} trajectories, {sum(row['record']['calls'] > 0 for row in rows)} called code")
for row in [row for row in rows if row["record"]["calls"]][:1]:
    print(row["task"]["images"][0]["path"])
    for segment in row["trajectory"]["segments"]:
        print(f"  [{segment['kind']}] {segment['text']}")
