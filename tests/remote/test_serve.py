"""``air serve`` with the official client, over a scripted chat server and the real sandbox."""

import asyncio
import base64
import io
import json

import httpx2
import openai
import pytest
from PIL import Image

from air_reasoning.errors import ConfigError
from air_reasoning.rollout_setup import RolloutConfig
from air_reasoning.serve.app import build_app
from air_reasoning.serve.settings import ServeConfig

DRAW = "from PIL import Image\nprint(image_1.size)\nImage.new('RGB', (30, 20), 'red')"
FENCED = f"```python\n{DRAW}\n```"
CELL = f"<think>look</think><code>{FENCED}</code>"
ANSWER = "<think>so</think>It is <answer>\\boxed{3}</answer>"


@pytest.fixture
def serve(serving, chat_server):
    """``serve(**settings)``: the address of a server over ``chat_server``, and its application."""

    def start(**settings):
        settings.setdefault("rollout", RolloutConfig(max_turns=4, max_new_tokens=500))
        app = build_app(ServeConfig(endpoint=chat_server.config(), **settings), told=lambda s: None)
        return serving(app) + "/v1", app.state.server

    return start


@pytest.fixture
def client(serve):
    return openai.OpenAI(base_url=serve()[0], api_key="none", max_retries=0)


def picture_url(size=(50, 40)):
    buffer = io.BytesIO()
    Image.new("RGB", size, "blue").save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def image_of(url):
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))


RESPONSES_INPUT = [
    {"role": "user", "content": [
        {"type": "input_image", "image_url": picture_url(), "detail": "auto"},
        {"type": "input_text", "text": "how large?"},
    ]}
]  # fmt: skip
TOOL = {"type": "code_interpreter", "container": {"type": "auto"}}
WITH_OUTPUTS = ["code_interpreter_call.outputs"]


def check_response(response):
    assert (response.status, response.output_text) == ("completed", "It is \\boxed{3}")
    kinds = [item.type for item in response.output]
    assert kinds == ["reasoning", "code_interpreter_call", "reasoning", "message"]
    assert response.output[0].content[0].text == "look"
    cell = response.output[1]
    assert (cell.code, cell.status) == (DRAW, "completed")
    assert cell.outputs[0].logs == "(50, 40)\n[1 image]"
    assert image_of(cell.outputs[1].url).size == (30, 20)
    assert response.usage.input_tokens == 200


def test_a_response_as_a_whole(client, chat_server):
    chat_server.turns = [CELL, ANSWER]
    check_response(
        client.responses.create(
            model="m1",
            input=RESPONSES_INPUT,
            tools=[TOOL],
            include=WITH_OUTPUTS,
            instructions="Be brief.",
            temperature=0.5,
            max_output_tokens=300,
        )
    )
    body = chat_server.bodies[0]
    assert body["messages"][0]["content"].endswith("Be brief.")
    assert "between <code>" in body["messages"][0]["content"]
    assert (body["temperature"], body["max_tokens"]) == (0.5, 300)


def test_a_response_as_a_stream(client, chat_server):
    chat_server.turns = [CELL, ANSWER]
    with client.responses.stream(
        model="m1", input=RESPONSES_INPUT, tools=[TOOL], include=WITH_OUTPUTS
    ) as stream:
        events = list(stream)
        check_response(stream.get_final_response())
    names = [event.type.removeprefix("response.") for event in events]
    once = [name for n, name in enumerate(names) if n == 0 or names[n - 1] != name]
    assert once == [
        "created", "in_progress",
        "output_item.added", "reasoning_text.delta", "reasoning_text.done", "output_item.done",
        "output_item.added", "code_interpreter_call.in_progress",
        "code_interpreter_call_code.delta", "code_interpreter_call_code.done",
        "code_interpreter_call.interpreting", "code_interpreter_call.completed",
        "output_item.done",
        "output_item.added", "reasoning_text.delta", "reasoning_text.done", "output_item.done",
        "output_item.added", "content_part.added", "output_text.delta", "output_text.done",
        "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    assert [event.sequence_number for event in events] == list(range(len(events)))
    code = "".join(e.delta for e in events if e.type.endswith("call_code.delta"))
    assert code == DRAW


def test_outputs_are_left_out_where_nobody_asked(client, chat_server):
    chat_server.turns = [CELL, ANSWER]
    response = client.responses.create(model="m1", input=RESPONSES_INPUT)
    assert response.output[1].outputs is None


CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "hello"},
    {"role": "assistant", "content": "hi"},
    {"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": picture_url()}},
        {"type": "text", "text": "how large?"},
    ]},
]  # fmt: skip
REASONING = f"look<code>{FENCED}</code>\n<interpreter>(50, 40)\n[1 image]</interpreter>\nso"


def test_chat_as_a_whole_over_several_turns(client, chat_server):
    chat_server.turns = [CELL, ANSWER]
    completion = client.chat.completions.create(model="m1", messages=CHAT)
    (choice,) = completion.choices
    assert (choice.message.content, choice.finish_reason) == ("It is \\boxed{3}", "stop")
    assert choice.message.reasoning_content == REASONING
    assert image_of(choice.message.images[0]["image_url"]["url"]).size == (30, 20)
    assert completion.usage.prompt_tokens == 200
    roles = [m["role"] for m in chat_server.bodies[0]["messages"]]
    assert roles == ["system", "user", "assistant", "user"]


def test_chat_as_a_stream(client, chat_server):
    chat_server.turns = [CELL, ANSWER]
    chunks = list(
        client.chat.completions.create(
            model="m1", messages=CHAT, stream=True, stream_options={"include_usage": True}
        )
    )
    deltas = [c.choices[0].delta for c in chunks if c.choices]
    assert "".join(d.content or "" for d in deltas) == "It is \\boxed{3}"
    assert "".join(getattr(d, "reasoning_content", None) or "" for d in deltas) == REASONING
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage.completion_tokens > 0


def test_tokens_that_run_out_are_told(client, chat_server):
    chat_server.turns = [CELL] * 9
    response = client.responses.create(model="m1", input="?", max_tool_calls=1)
    assert response.status == "incomplete"
    assert [item.status for item in response.output][-1] == "incomplete"
    assert len(chat_server.bodies) == 2


def test_no_code_where_the_client_forbids_it(client, chat_server):
    chat_server.turns = [CELL]
    response = client.responses.create(model="m1", input="?", tool_choice="none")
    assert all(item.type != "code_interpreter_call" for item in response.output)
    assert "You have no tools" in chat_server.bodies[0]["messages"][0]["content"]


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"model": "other"}, 404, "there is 'm1'"),
        ({"input": []}, 400, "input has to be"),
        ({"input": [{"role": "robot", "content": "x"}]}, 400, "robot"),
        ({"input": [{"role": "assistant", "content": "x"}]}, 400, "last message"),
        ({"temperature": 9}, 400, "temperature has to be"),
        ({"temperature": True}, 400, "temperature has to be"),
        ({"previous_response_id": "r"}, 400, "previous_response_id is not supported"),
        ({"tools": [{"type": "web_search"}]}, 400, "web_search"),
        ({"tools": [TOOL | {"container": "cntr_1"}]}, 404, "containers end"),
        ({"text": {"format": {"type": "json_object"}}}, 400, "json_object"),
        ({"text": "json"}, 400, "text has to be an object"),
        ({"text": {"format": 1}}, 400, "format has to be an object"),
        ({"tools": 3}, 400, "tools has to be a list"),
        ({"include": 1}, 400, "include has to be a list"),
        ({"stream_options": [1]}, 400, "stream_options has to be an object"),
        ({"input": [{"type": "code_interpreter_call", "outputs": 1}]}, 400, "outputs has to be"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_a_reason(client, change, status, message):
    body = {"model": "m1", "input": "?"} | change
    with pytest.raises(openai.APIStatusError, match=message) as caught:
        client.responses.create(**body)
    assert caught.value.status_code == status


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data", "https://example.org/a.png",
        "file:///etc/passwd", "data:image/png;base64,@@@", "data:image/png,abc",
        "data:image/png;base64,AAAA", "",
    ],
)  # fmt: skip
def test_pictures_come_as_data_and_are_checked(client, url):
    content = [{"type": "input_image", "image_url": url, "detail": "auto"}]
    with pytest.raises(openai.BadRequestError):
        client.responses.create(model="m1", input=[{"role": "user", "content": content}])


def test_pictures_of_other_machines_are_never_fetched(serve, serving):
    """Not even from a host that is allowed, unless by https."""
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Route

    asked = []
    here = serving(Starlette(routes=[Route("/a", lambda r: asked.append(1) or Response(b""))]))
    url, _ = serve(image_hosts=["127.0.0.1"])
    client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
    content = [{"type": "input_image", "image_url": here + "/a", "detail": "auto"}]
    with pytest.raises(openai.BadRequestError, match="not fetched"):
        client.responses.create(model="m1", input=[{"role": "user", "content": content}])
    assert asked == []


def test_large_bodies_and_pictures_and_many_pictures_are_refused(serve):
    url, _ = serve(max_body_mb=0.1, max_images=1, max_image_pixels=1000)
    client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
    with pytest.raises(openai.APIStatusError, match=r"larger than 0\.1 MiB") as caught:
        client.responses.create(model="m1", input="x" * 200_000)
    assert caught.value.status_code == 413
    for size, count in (((50, 40), 1), ((10, 10), 2)):
        part = {"type": "input_image", "image_url": picture_url(size), "detail": "auto"}
        with pytest.raises(openai.BadRequestError, match="more than 1"):
            client.responses.create(model="m1", input=[{"role": "user", "content": [part] * count}])


def test_a_body_that_a_web_page_could_send_is_refused(serve):
    address = serve()[0] + "/responses"
    for content, kind, status in ((b"{}", "text/plain", 415), (b"{", "application/json", 400)):
        answer = httpx2.post(address, content=content, headers={"Content-Type": kind})
        assert answer.status_code == status


def test_keys(serve, chat_server, monkeypatch):
    monkeypatch.setenv("SERVE_API_KEYS", "one,two")
    url, _ = serve()
    chat_server.turns = [ANSWER]
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=url, api_key="three", max_retries=0).models.list()
    client = openai.OpenAI(base_url=url, api_key="two", max_retries=0)
    assert [model.id for model in client.models.list()] == ["m1"]
    assert client.responses.create(model="m1", input="?").status == "completed"


def test_off_loopback_keys_are_needed(monkeypatch):
    monkeypatch.delenv("SERVE_API_KEYS", raising=False)
    with pytest.raises(ConfigError, match="SERVE_API_KEYS"):
        build_app(ServeConfig(host="0.0.0.0"))


def test_a_lost_engine_is_the_clients_502_and_names_no_address(client, chat_server):
    chat_server.failures = [400]
    with pytest.raises(openai.APIStatusError, match="the engine failed") as caught:
        client.responses.create(model="m1", input="?")
    assert caught.value.status_code == 502
    assert "127.0.0.1" not in str(caught.value)
    chat_server.failures = [400]
    with client.responses.stream(model="m1", input="?") as stream:
        *_, last = stream
    assert (last.type, last.response.error.code) == ("response.failed", "server_error")


SLEEP = "<code>```python\nimport time\nopen('started', 'w').close()\ntime.sleep(60)\n```</code>"


@pytest.mark.parametrize("streamed", [True, False])
def test_a_client_that_goes_away_frees_its_slot_and_sandbox(serve, chat_server, streamed):
    url, server = serve(per_key=1)
    chat_server.turns = [SLEEP, ANSWER]
    pool = server._engine.sandboxes

    async def run():
        async with httpx2.AsyncClient(timeout=30) as http:
            body = {"model": "m1", "input": "?", "stream": streamed}
            asking = asyncio.create_task(http.post(url + "/responses", json=body))
            while not chat_server.bodies:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.3)
            assert server.admission.running.total() == 1
            assert (await http.post(url + "/responses", json=body)).status_code == 429
            asking.cancel()
            for _ in range(500):
                if server.admission.running.total() == 0:
                    break
                await asyncio.sleep(0.01)
            assert server.admission.running.total() == 0
            again = await http.post(url + "/responses", json={"model": "m1", "input": "?"})
            return again.status_code

    assert asyncio.run(run()) == 200
    assert pool._slots._value == pool.config.max_sessions
    assert server.counts["cancelled_total", ""] == 1


def test_health_and_metrics(serve, chat_server):
    url, _ = serve()
    base = url.removesuffix("/v1")
    chat_server.turns = [CELL, ANSWER]
    openai.OpenAI(base_url=url, api_key="x").responses.create(model="m1", input=RESPONSES_INPUT)
    assert httpx2.get(base + "/health").json() == {"status": "ok", "running": 0}
    lines = httpx2.get(base + "/metrics").text.splitlines()
    assert 'air_requests_total{api="responses",status="200"} 1' in lines
    assert "air_cells_total 1" in lines
    assert 'air_trajectories_total{stop="answered"} 1' in lines


def test_the_shipped_kind_of_model_behind_the_same_wire(serving, tiny_model):
    """A model of this process, not an endpoint: tokens, chat template, placeholders."""
    from air_reasoning.models.shipped import ModelConfig

    config = ServeConfig(
        model=ModelConfig(path=tiny_model),
        rollout=RolloutConfig(max_new_tokens=12, max_turns=2, temperature=1),
    )
    url = serving(build_app(config, told=lambda s: None)) + "/v1"
    client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
    response = client.responses.create(model="tiny", input=RESPONSES_INPUT, instructions="Short.")
    assert response.usage.input_tokens > 20
    assert response.usage.output_tokens == 12
    assert response.status in ("incomplete", "completed")
    assert json.loads(response.model_dump_json())["model"] == "tiny"
