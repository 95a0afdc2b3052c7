"""Draw a held-out picture, ask about it, and let the model answer.

python examples/solve_with_shipped_model.py [MODEL]
"""

import sys

from air_reasoning import solve
from air_reasoning.answers import answer_text, extract_answer
from air_reasoning.tasks.make import TasksConfig, make_tasks

model = sys.argv[1] if len(sys.argv) > 1 else None
task, image = next(make_tasks(TasksConfig(split="test", count=1, seed=3)))
question = task.prompt[1].text
trajectory = solve(image, question, model=model)
print(question)
print("".join(segment.text for segment in trajectory.segments))
print(f"answer: {extract_answer(answer_text(trajectory)).text or '(none)'}")
print(f"gold:   {task.answer.value}   stop: {trajectory.stop}")
