"""vLLM by token ids: each run of the trajectory with its tokens and their mean log-probability.

vllm serve CHECKPOINT --enable-scale-out --logprobs-mode processed_logprobs
python examples/solve_with_vllm.py http://localhost:8000/v1 CHECKPOINT chart.png "What is it?"
"""

import sys

from air_reasoning import solve
from air_reasoning.samplers.settings import EndpointConfig

url, checkpoint, picture, question = sys.argv[1:]
endpoint = EndpointConfig(url=url, api="vllm", processor=checkpoint)
trajectory = solve(picture, question, endpoint=endpoint)
for segment in trajectory.segments:
    sure = sum(segment.logprobs) / max(1, len(segment.logprobs))
    print(f"{segment.kind:7} {len(segment.token_ids):5} tokens {sure:8.3f}  {segment.text!r}")
print(f"stop: {trajectory.stop}, prompt: {trajectory.usage.prompt} tokens")
