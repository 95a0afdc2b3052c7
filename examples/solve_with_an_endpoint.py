"""One picture and one question to a chat-completions server (vLLM, ...); the code runs here.

python examples/solve_with_an_endpoint.py http://localhost:8000/v1 chart.png "What is the mean?"
"""

import sys

from air_reasoning import solve

trajectory = solve(sys.argv[2], sys.argv[3], endpoint=sys.argv[1])
for segment in trajectory.segments:
    print(f"{segment.kind:7} {segment.text}")
    for image in segment.images:
        print(f"        {image.path}")
print(f"stop: {trajectory.stop}, tokens: {trajectory.usage.model}")
