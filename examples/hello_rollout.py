"""One roll-out without a trained policy: a script plays the model, the sandbox is real.

python examples/hello_rollout.py [MODEL]    (of the model only tokenizer and template matter)
"""

import asyncio
import sys

from air_reasoning.engine import Engine
from air_reasoning.models.load import load_model
from air_reasoning.models.shipped import shipped_model
from air_reasoning.renderer import Renderer
from air_reasoning.rollout import RolloutConfig, rollout
from air_reasoning.samplers.scripted import ScriptedSampler
from air_reasoning.sandbox.process import ProcessPool
from air_reasoning.scoring import score_trajectory
from air_reasoning.turn_format import AIR
from air_reasoning.types import Answer, Part, Task

loaded = load_model(sys.argv[1] if len(sys.argv) > 1 else shipped_model())
prompt = [Part(kind="text", text="What is 12.5 times 9.1?")]
task = Task(id="hello", prompt=prompt, images=[], answer=Answer(value="113.75", type="float"))
turns = ["<think>12.5 9.1</think><code>12.5 * 9.1</code>", "<answer>\\boxed{113.75}</answer>"]
sampler = ScriptedSampler(loaded.tokenizer, turns)
engine = Engine(sampler=sampler, sandboxes=ProcessPool(), renderer=Renderer(loaded, AIR))
trajectory = asyncio.run(rollout(task, engine, RolloutConfig(), trajectory_id="hello"))
print("\n".join(f"{s.kind:7} {s.text}" for s in trajectory.segments))
print(score_trajectory(task, trajectory).outcome)
asyncio.run(engine.sandboxes.close())
