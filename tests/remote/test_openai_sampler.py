"""The turn loop over chat completions: text and pictures there, text back, no token ids."""

import asyncio
import base64
import io
import socket

import pytest
from PIL import Image

from air_reasoning import solve, solve_async
from air_reasoning.engine import EngineConfig, open_endpoint
from air_reasoning.errors import ConfigError, SamplerError
from air_reasoning.rollout import RolloutConfig, rollout
from air_reasoning.samplers.openai import OpenAISampler
from air_reasoning.samplers.settings import EndpointConfig
from air_reasoning.types import Answer, Part, StopReason, Task

DRAW = "from PIL import Image\nImage.new('RGB', (30, 20), 'red')"
ANSWER = "<answer>\\boxed{3}</answer>"


def cell(code):
    return f"<code>```python\n{code}\n```</code>"


def written(trajectory):
    return "".join(s.text for s in trajectory.segments)


def ask(server, turns, images=(), config=None, **options):
    server.turns = list(turns)
    return solve(list(images), "1+2?", endpoint=server.config(**(config or {})), **options)


@pytest.mark.parametrize("owner", ["somebody", "vllm"])
@pytest.mark.parametrize("streamed", [True, False])
def test_a_cell_is_run_and_its_result_sent_back(chat_server, owner, streamed):
    """The server swallows the tag that it stopped at, or (vLLM) gives it: the same trajectory."""
    chat_server.owner = owner
    heard = []
    listener = {"on_event": heard.append} if streamed else {}
    t = ask(chat_server, ["<think>hm</think>" + cell("x = 1+2\nx") + "lost", ANSWER], **listener)
    assert (t.stop, t.executions[0].value) == (StopReason.ANSWERED, "3")
    assert written(t) == (
        "<think>hm</think><code>```python\nx = 1+2\nx\n```</code><interpreter>3</interpreter>"
        + ANSWER
    )
    assert not any(s.token_ids or s.logprobs for s in t.segments)
    assert (t.usage.prompt, t.usage.sent, t.usage.cached) == (100, 200, 80)
    if streamed:
        deltas = "".join(e.text for e in heard if e.kind == "delta")
        assert deltas == written(t).replace("<interpreter>3</interpreter>", "")
    first, second = chat_server.bodies
    assert first["stop"] == ["</code>"]
    assert "between <code> and </code>" in first["messages"][0]["content"]
    assert first["messages"][1] == {"role": "user", "content": "1+2?"}
    turn = "<think>hm</think><code>```python\nx = 1+2\nx\n```</code>"
    if owner == "vllm":
        assert second["messages"][2:] == [
            {"role": "assistant", "content": turn + "<interpreter>3</interpreter>"}
        ]
        assert second["continue_final_message"] is True
        assert second["add_generation_prompt"] is False
    else:
        assert second["messages"][2:] == [
            {"role": "assistant", "content": turn},
            {"role": "user", "content": "<interpreter>3</interpreter>"},
        ]
        assert "continue_final_message" not in second


@pytest.mark.parametrize("owner", ["somebody", "vllm"])
def test_pictures_go_there_and_figures_come_back_as_user_turns(chat_server, owner):
    chat_server.owner = owner
    picture = Image.new("RGB", (50, 40), "blue")
    t = ask(chat_server, [cell(DRAW), ANSWER], [picture])
    first, second = chat_server.bodies
    image, text = first["messages"][1]["content"]
    assert text == {"type": "text", "text": "1+2?"}
    kind, _, data = image["image_url"]["url"].partition("base64,")
    assert kind == "data:image/png;"
    assert Image.open(io.BytesIO(base64.b64decode(data))).getpixel((1, 1)) == (0, 0, 255)
    result = second["messages"][-1]
    assert result["role"] == "user"
    assert [p["type"] for p in result["content"]] == ["text", "image_url", "text"]
    assert result["content"][0]["text"] == "<interpreter>[1 image]"
    (figure,) = t.executions[0].images
    assert Image.open(figure.path).size == (30, 20)


def test_continue_puts_pictures_into_the_models_turn(chat_server):
    ask(chat_server, [cell(DRAW), ANSWER], config={"tool_results": "continue"})
    assert [m["role"] for m in chat_server.bodies[1]["messages"]] == ["system", "user", "assistant"]
    assert [p["type"] for p in chat_server.bodies[1]["messages"][2]["content"]] == [
        "text", "text", "image_url", "text",
    ]  # fmt: skip


def test_large_pictures_are_shrunk_before_they_are_sent(chat_server):
    engine = EngineConfig(max_pixels=1000)
    ask(chat_server, [ANSWER], [Image.new("RGB", (200, 50))], engine=engine)
    url = chat_server.bodies[0]["messages"][1]["content"][0]["image_url"]["url"]
    assert Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).size == (63, 15)


def test_what_can_help_is_tried_again_and_counted(chat_server):
    chat_server.turns, chat_server.failures = [ANSWER], [429, 503, 500]

    async def run():
        async with open_endpoint(chat_server.config()) as engine:
            task = Task(
                id="q", prompt=[Part(kind="text", text="?")], images=[], answer=Answer(value="3")
            )
            t = await rollout(task, engine, RolloutConfig(), trajectory_id="a")
            return t.stop, dict(engine.sampler.counts)

    assert asyncio.run(run()) == (
        StopReason.ANSWERED, {"requests": 4, "retries": 3, "rate_limited": 1},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "HTTP 400: no, 400"),
        (401, "HTTP 401: no, 401; put the key into the environment variable OPENAI_API_KEY"),
        (404, "check endpoint.url"),
    ],
)
def test_what_cannot_help_is_told_at_once(chat_server, status, message):
    chat_server.failures = [status]
    with pytest.raises(SamplerError, match=message.replace(".", r"\.")):
        ask(chat_server, [ANSWER])
    assert chat_server.failures == []


def test_tries_end(chat_server):
    chat_server.failures = [503] * 5
    with pytest.raises(SamplerError, match="HTTP 503"):
        ask(chat_server, [ANSWER], config={"retries": 2})
    assert len(chat_server.failures) == 2


def test_a_stream_that_breaks_off_is_our_fault_and_not_an_answer(chat_server):
    chat_server.break_off = True
    with pytest.raises(SamplerError, match=r"broke off|without a finish_reason"):
        ask(chat_server, [ANSWER], on_event=lambda event: None)


def test_nobody_listens():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(SamplerError, match="is the server running"):
        solve([], "?", endpoint=EndpointConfig(url=f"http://127.0.0.1:{port}/v1", retries=0))


def test_the_key_comes_from_the_environment_and_goes_nowhere_else(
    chat_server, monkeypatch, tmp_path
):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    heard = []
    t = ask(
        chat_server, [ANSWER], config={"cache": tmp_path}, on_event=lambda e: heard.append(repr(e))
    )
    assert chat_server.keys == ["Bearer sk-secret"]
    kept = "".join(f.read_text() for f in tmp_path.rglob("*.json"))
    assert "sk-secret" not in "".join(heard) + repr(t) + kept
    with pytest.raises(ConfigError, match="carries a key"):
        OpenAISampler(EndpointConfig(url="https://me:sk-secret@example.org/v1"))


def test_the_same_request_is_not_paid_for_twice(chat_server, tmp_path):
    one = ask(chat_server, [cell("1+2"), ANSWER], config={"cache": tmp_path})
    two = ask(chat_server, [], config={"cache": tmp_path}, on_event=lambda event: None)
    assert written(one) == written(two)
    assert len(chat_server.bodies) == 2
    ask(chat_server, [ANSWER], config={"cache": tmp_path}, engine=EngineConfig(system_prompt="x"))
    assert len(chat_server.bodies) == 3


def test_cost_is_estimated_from_usage(chat_server):
    chat_server.turns = ["a b c " + ANSWER]
    config = chat_server.config(input_price=2.0, cached_price=1.0, output_price=10.0)

    async def run():
        async with open_endpoint(config) as engine:
            task = Task(
                id="q", prompt=[Part(kind="text", text="?")], images=[], answer=Answer(value="3")
            )
            await rollout(task, engine, RolloutConfig(), trajectory_id="a")
            return engine.sampler.cost

    # 60 prompt tokens at 2, 40 cached ones at 1, 4 written at 10 dollars a million
    assert asyncio.run(run()) == pytest.approx((60 * 2 + 40 * 1 + 4 * 10) / 1e6)


def test_several_models_and_none_named(chat_server):
    chat_server.models = ["a", "b"]
    with pytest.raises(SamplerError, match=r"name endpoint\.model; there are: a, b"):
        ask(chat_server, [ANSWER])
    ask(chat_server, [ANSWER], config={"model": "b"})
    assert chat_server.bodies[0]["model"] == "b"


def test_under_a_ban_the_opening_tag_ends_the_turn_and_no_tool_is_offered(chat_server):
    chat_server.turns = ["so " + cell("1+2")]

    async def run():
        async with open_endpoint(chat_server.config()) as engine:
            task = Task(
                id="q", prompt=[Part(kind="text", text="?")], images=[], answer=Answer(value="3")
            )
            return await rollout(task, engine, RolloutConfig(), trajectory_id="a", code_banned=True)

    t = asyncio.run(run())
    assert (t.stop, written(t), t.executions) == (StopReason.VOID_TURN, "so ", [])
    assert chat_server.bodies[0]["stop"] == ["<code>"]
    assert "You have no tools" in chat_server.bodies[0]["messages"][0]["content"]


def test_fields_that_a_server_refuses_are_left_out_and_others_added(chat_server):
    ask(chat_server, [ANSWER], config={"omit": ["seed", "top_p"], "extra": {"top_k": 5}})
    body = chat_server.bodies[0]
    assert "seed" not in body
    assert "top_p" not in body
    assert body["top_k"] == 5


def test_solve_works_inside_a_running_loop_and_has_an_async_twin(chat_server):
    async def run():
        chat_server.turns = [ANSWER, ANSWER]
        there = solve([], "?", endpoint=chat_server.url)
        here = await solve_async([], "?", endpoint=chat_server.url)
        return written(there), written(here)

    assert asyncio.run(run()) == (ANSWER, ANSWER)
