"""The adapters on a few handmade rows in each official layout, and their named errors."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from PIL import Image

from air_reasoning.errors import ConfigError, DataError, SamplerError
from air_reasoning.eval.benchmarks import (
    chartqa,
    dynamath,
    generic,
    geoqa,
    mathverse,
    olympiadbench,
    wemath,
)
from air_reasoning.eval.benchmarks.adapter import official_scorer
from air_reasoning.eval.benchmarks.olympiad_judge import official_answer, official_equal
from air_reasoning.eval.judge import ExtractorConfig, JudgeConfig, says_the_same, side_models
from air_reasoning.eval.known import BENCHMARKS, find_adapter
from air_reasoning.eval.score import score_file
from air_reasoning.types import Answer, Task


@pytest.fixture(autouse=True)
def no_benchmark_folder(monkeypatch):
    monkeypatch.delenv("AIR_BENCHMARKS", raising=False)


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = isinstance(data, list) and path.suffix == ".jsonl"
    path.write_text("\n".join(map(json.dumps, data)) if lines else json.dumps(data))


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 3), "white").save(path)


VERSE = [
    {
        "sample_index": "1",
        "problem_version": "Text Lite",
        "question": "The angle is ()\nChoices:\nA:40°\nB:60°",
        "answer": "B",
        "question_type": "multi-choice",
        "image": "v/1.png",
        "metadata": "{'subject': 'Plane Geometry'}",
    },
    {
        "sample_index": "2",
        "problem_version": "Vision Only",
        "question": "Find the bearing.",
        "answer": "118掳T",
        "question_type": "free-form",
        "image": "v/1.png",
        "metadata": {"subject": "Functions"},
    },
]


def test_mathverse(tmp_path, monkeypatch):
    monkeypatch.setitem(mathverse.COUNTS, "testmini", 2)
    put(tmp_path / "testmini.json", VERSE)
    picture(tmp_path / "images/v/1.png")
    choice, free = mathverse.load(tmp_path)
    assert (choice.choices, choice.meta["subject"]) == (["40°", "60°"], "Plane Geometry")
    assert mathverse.official_verdict(choice, "So the answer is B.").correct
    assert mathverse.official_verdict(choice, "It is 60°.").correct
    assert not mathverse.official_verdict(free, "The answer is 118°").correct  # equal text only
    assert mathverse.strict_verdict(free, "The answer is 118°").correct
    assert mathverse.official_extraction(free, "118掳T").correct
    figures = mathverse.ADAPTER.figures([(choice, True), (free, False)])
    assert {name: m.value for name, m in figures.items()} == {"Text Lite": 1.0, "Vision Only": 0.0}


def we(problem, step, answer="C"):
    row = {"ID": problem, "key": f"2steps_{step}", "question": "How long?", "answer": answer}
    return row | {"option": "A. 1;B. 2;C. 3", "image_path": "2steps/image/1.png"}


@pytest.mark.parametrize(
    ("response", "letter"),
    [("Answer: <C>", "C"), ("Answer: B\nno, Answer: C. 3", "C"), ("C", "C"), ("I think 3", "")],
)
def test_wemath_letter(response, letter):
    assert wemath.official_letter(response) == letter


def test_wemath_four_dimensions(tmp_path, monkeypatch):
    monkeypatch.setattr(wemath, "COUNT", 12)
    rows = [we(problem, step) for problem in "abcd" for step in ("1", "2", "multi")]
    put(tmp_path / "testmini.json", rows)
    tasks = wemath.load(tmp_path, images=False)
    assert tasks[0].choices == ["1", "2", "3"]
    right = {"a": "111", "b": "110", "c": "101", "d": "001"}  # steps 1 and 2, then the whole
    verdicts = [right[problem][n] == "1" for problem in "abcd" for n in range(3)]
    metrics = wemath.ADAPTER.figures(list(zip(tasks, verdicts, strict=True)))
    figures = {name: metric.value for name, metric in metrics.items()}
    assert metrics["problems with all steps, of 525"].low is None  # does not vary
    assert metrics["score (loose)"].low < 3 / 8 < metrics["score (loose)"].high
    assert figures["inadequate generalization"] == 1 / 4
    assert figures["insufficient knowledge"] == 0
    assert figures["complete mastery (strict)"] == 1 / 4
    assert figures["complete mastery (loose)"] == 2 / 4
    assert figures["rote memorization (strict)"] == 2 / 3
    assert figures["score (strict)"] == (4 - 0.5 - 2 - 0) / 4
    assert figures["score (loose)"] == (4 - 0.5 - 1 - 0) / 4


DYNA = {
    "1": {"question": "How far?", "answer": "6.283", "answer_type": "float"},
    "2": {"question": "Which?", "answer": "B", "answer_type": "multiple choice"},
    "3": {"question": "What?", "answer": "odd", "answer_type": "text"},
}


def test_dynamath(tmp_path, monkeypatch):
    monkeypatch.setattr(dynamath, "SEEDS", 3)
    for variant in (1, 2):
        put(tmp_path / f"data/variant_{variant}/dataset.json", DYNA)
    far, which, what = dynamath.load(tmp_path / "data", images=False)[:3]
    assert dynamath.official_verdict(far, '{"solution": "..", "short answer": "2π"}').correct
    assert dynamath.official_verdict(far, 'so {"short answer": "6.2831 cm"}').correct
    assert not dynamath.official_verdict(far, '{"short answer": "6.285"}').correct
    assert dynamath.official_verdict(which, '{"short answer": "(B) two"}').correct
    assert dynamath.official_verdict(what, '{"short answer": "odd function"}').correct
    assert not dynamath.official_verdict(what, '{"short answer": ""}').correct  # never reversed

    def outputs(far, which):
        answers = {"1": far, "2": which, "3": "odd"}
        return {
            k: {"response": {"short answer": a}, "result": "correct"} for k, a in answers.items()
        }

    put(tmp_path / "out/v1.json", outputs("6.283", "B"))
    put(tmp_path / "out/v2.json", outputs("6.283", "C"))
    for start in ("extraction", "response"):
        adapter = find_adapter("dynamath")
        scored = score_file(adapter, tmp_path / "out", tmp_path / "data", start=start)
        assert scored.accuracy.value == 5 / 6
        assert scored.figures["worst-case accuracy"].value == 2 / 3
        assert scored.agreement == (5, 6)


def test_dynamath_short_answers():
    stored = {"solution": 'the side "a" is 7', "short answer": "7"}
    assert dynamath.short_answer(json.dumps(stored)) == "7"
    assert dynamath.short_answer('so {"short answer": "\\\\(B\\\\)"}') == "(B)"
    assert dynamath.short_answer("it is\n42.") == "42"
    assert dynamath.short_answer("42") == ""  # JSON, but no object: officially a failure


def test_dynamath_parquet(tmp_path, monkeypatch):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(dynamath, "SEEDS", 2)
    picture(tmp_path / "a.png")
    image = {"bytes": (tmp_path / "a.png").read_bytes(), "path": "../../a.png"}
    rows = [
        {"id": str(n), "question": "?", "ground_truth": "B", "answer_type": "multiple choice"}
        | {"subject": "statistics", "knowledge_level": "high school", "decoded_image": image}
        for n in (1, 2)
    ]

    def put_variant(n):
        parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / f"sample{n}-00000.parquet")

    put_variant(1)
    put_variant(3)
    with pytest.raises(DataError, match="variant 2 is not there"):
        dynamath.load(tmp_path)
    put_variant(2)
    assert [t.images for t in dynamath.load(tmp_path, images=False)] == [[]] * 6
    tasks = dynamath.load(tmp_path)
    assert [t.id.partition("/")[2] for t in tasks] == ["1@1", "2@1", "1@2", "2@2", "1@3", "2@3"]
    assert (tasks[0].images[0].width, tasks[0].meta["level"]) == (4, "high school")
    assert (tmp_path / "unpacked/variant_3/image/image2.png").is_file()


@pytest.mark.parametrize(
    ("target", "given", "equal"),
    [
        ("100", "105", True),
        ("100", "105.1", False),
        ("2010", "1990", True),  # years get 5 % too
        ("0.5", "51%", True),
        ("50", "50%", False),
        ("1,000", "1000", False),
        ("0", "0.0", False),
        ("Yes", "yes", True),
    ],
)
def test_chartqa_relaxed(target, given, equal):
    assert chartqa.relaxed_equal(target, given) is equal


def test_chartqa_layout(tmp_path, monkeypatch):
    monkeypatch.setattr(chartqa, "COUNT", 1)
    for part in ("human", "augmented"):
        row = {"imgname": "a.png", "query": "How many?", "label": "7"}
        put(tmp_path / f"test/test_{part}.json", [row])
    picture(tmp_path / "test/png/a.png")
    human, augmented = chartqa.load(tmp_path)
    assert chartqa.official_verdict(human, "The answer is 7.2").correct
    assert chartqa.ADAPTER.figures([(human, True), (augmented, False)])["mean of both"].value == 0.5


@pytest.mark.parametrize(
    ("given", "gold", "tolerance", "equal"),
    [
        (r"So \boxed{2}, \boxed{\frac{1}{2}}", "0.5,2", 1e-8, True),
        (r"$x=\pm 3$", r"\pm 3", 1e-8, True),
        ("(1,2]", r"\left(1, 2\right]", 1e-8, True),
        ("[1,2]", "(1,2]", 1e-8, False),
        ("3.141", "3.14", 0.01, True),
        ("3.141", "3.14", 1e-8, False),
        ("50", "0.5", 1e-8, True),  # a hundredfold is percent
        (r"\boxed{(x-1)(x+1)}", "x^2-1", 1e-8, True),
        (r"\boxed{2", "2", 1e-8, False),
        ("1,2,3", "1,2", 1e-8, False),
        ("", "2", 1e-8, False),
    ],
)
def test_olympiad_judge(given, gold, tolerance, equal):
    assert official_equal(given, gold, [tolerance]) is equal


def test_olympiadbench(tmp_path, monkeypatch):
    monkeypatch.setitem(olympiadbench.COUNTS, "OE_MM_maths_en_COMP", 1)
    row = {"id": 7, "question": "<image_1> How long?", "final_answer": ["2.5"], "image_1": "9.jpg"}
    row |= {"answer_type": "Numerical", "error": "1e-1", "unit": "cm"}
    put(tmp_path / "OE_MM_maths_en_COMP.json", [row])
    picture(tmp_path / "images/9.jpg")
    (task,) = olympiadbench.load(tmp_path)
    assert len(task.images) == 1
    assert olympiadbench.official_verdict(task, "So the final answer is \\boxed{2.55}").correct
    assert official_answer("所以最终答案是3。", chinese=True) == "3。"
    with pytest.raises(DataError, match="proofs are judged by people"):
        olympiadbench.load(tmp_path, "TP_TO_maths_en_COMP")


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("Answer:C", "C"),
        ("so the answer is (B) 40.", "B"),
        ("Hence so. Therefore it is D.", "D"),
        ("The answer is A", ""),  # an official blind spot
    ],
)
def test_geoqa_letter(text, letter):
    assert geoqa.official_letter(text) == letter


def test_geoqa_layout(tmp_path, monkeypatch):
    monkeypatch.setattr(geoqa, "COUNT", 1)
    text = "<image>\nHow long?\nChoices:\nA. 3\nB. 4\nC. 5\nD. 6"
    put(tmp_path / "test_questions.jsonl", [{"question_id": 5, "image": "t/5.png", "text": text}])
    put(tmp_path / "test_answers.jsonl", [{"question_id": 5, "text": "B"}])
    picture(tmp_path / "images/t/5.png")
    (task,) = geoqa.load(tmp_path)
    assert (task.id, task.choices, task.answer.value) == ("geoqa/5", ["3", "4", "5", "6"], "B")
    put(tmp_path / "test_answers.jsonl", [{"question_id": 6, "text": "B"}])
    with pytest.raises(DataError, match=r"test_questions\.jsonl:1: question 5 has no line in"):
        geoqa.load(tmp_path)


def test_generic_file(tmp_path):
    rows = [{"id": "1", "question": "How many?", "answer": "3", "image": "a.png", "kind": "count"}]
    rows += [{"id": "2", "question": "Which?", "answer": "B", "choices": ["x", "y"]}]
    put(tmp_path / "mine.jsonl", rows)
    picture(tmp_path / "a.png")
    count, which = generic.load(tmp_path)
    assert (count.meta["split"], count.meta["kind"], len(count.images)) == ("test", "count", 1)
    assert generic.ADAPTER.official(which, "The answer is (B).").correct
    put(tmp_path / "mine.jsonl", [rows[1], rows[1]])
    with pytest.raises(DataError, match=r"row 2: id '2' is there twice"):
        generic.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "gold", "kind", "given"),
    [
        ("wemath", "C", "choice", "C"),
        ("geoqa", "B", "choice", "B"),
        ("dynamath", "B", "choice", "(B)"),
        ("dynamath", "6.283", "float", "6.2832"),
        ("logicvista", "A, C", "choice", "C and A"),
        ("mathvista", "3", "int", "3"),
        ("mathvision", "\\frac{1}{2}", "expr", "\\frac{1}{2}"),
        ("mathverse", "118°", "expr", "118°"),
        ("chartqa", "12", "float", "12.1"),
    ],
)
def test_official_rules_read_what_stands_in_our_answer_tag(name, gold, kind, given):
    task = Task(id="x", prompt=[], images=[], answer=Answer(value=gold, type=kind), meta={})
    score = official_scorer(find_adapter(name))
    for inner in (given, f"\\boxed{{{given}}}"):
        verdict = score(task, f"<think>9 or D</think><answer>{inner}</answer>")
        assert (verdict.correct, verdict.route) == (True, "answer_tag")
    assert not score(task, "<answer>D</answer>").correct


@pytest.mark.parametrize("name", [name for name in BENCHMARKS if name != "generic"])
def test_an_empty_folder_says_what_to_download(name, tmp_path):
    adapter = find_adapter(name)
    with pytest.raises(DataError, match=r"not there|no variant_1") as error:
        adapter.load(tmp_path, adapter.splits[0], images=False)
    assert adapter.download in str(error.value)


def test_wrong_counts_and_missing_pictures_are_named(tmp_path, monkeypatch):
    put(tmp_path / "testmini.json", VERSE)
    with pytest.raises(DataError, match="2 items, expected 3940"):
        mathverse.load(tmp_path)
    monkeypatch.setitem(mathverse.COUNTS, "testmini", 2)
    with pytest.raises(DataError, match=r"2 of 2 pictures are missing, first images/v/1\.png"):
        mathverse.load(tmp_path)


def test_real_files(benchmark_folder):
    folder = benchmark_folder("mathverse")
    tasks = mathverse.load(folder, "testmini_text_only")
    assert sum(len(task.choices) >= 2 for task in tasks) >= 430
    assert all(mathverse.official_extraction(task, task.answer.value).correct for task in tasks)
    rows = json.loads((benchmark_folder("wemath") / "testmini_first_120.json").read_text())
    for task in map(wemath.task_of_output, rows):
        assert wemath.official_verdict(task, f"Answer: {task.answer.value}").correct


class Service(BaseHTTPRequestHandler):
    """A judge says 1 if 50 cm is the second answer, "perhaps" for "odd", else 0; an extractor reads
    50 cm where it stands, else B. Every first request finds it busy.
    """

    busy = True

    def do_POST(self):
        prompt = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if Service.busy:
            Service.busy = False
            self.send_error(429)
            return
        reply = "1" if "answer: 50 cm" in prompt else "perhaps" if "odd" in prompt else "0"
        if "Its answer:" in prompt:
            reply = "50 cm" if "50 cm" in prompt else "B"
        body = json.dumps({"choices": [{"message": {"content": reply}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def service():
    Service.busy = True
    server = HTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def asking(service, cache, *roles):
    judge = JudgeConfig(endpoint=service if "judge" in roles else "", model="judge-7b")
    there = service if "extractor" in roles else ""
    return side_models(judge, ExtractorConfig(endpoint=there, model="reader-7b"), cache)


def test_judge_is_asked_once_and_remembered(tmp_path, service):
    cache = tmp_path / "replies.jsonl"
    for asked in (1, 0):
        with asking(service, cache, "judge") as models:
            assert says_the_same(models.judge, "How long?", "0.5 m", "50 cm")
            assert models.judge.asked == asked
            assert not says_the_same(models.judge, "How long?", "0.5 m", " ")
    with (
        asking(service, cache, "judge") as models,
        pytest.raises(SamplerError, match="replied 'perhaps' 3 times"),
    ):
        says_the_same(models.judge, "Which?", "odd", "uneven")


def test_mathverse_with_a_judge_and_an_extractor(tmp_path, service):
    rows = [VERSE[0] | {"model_answer": "B"}]
    rows += [VERSE[1] | {"answer": "0.5 m", "model_answer": "Its length is \\boxed{50 cm}."}]
    output, cache = tmp_path / "output.json", tmp_path / "replies.jsonl"
    put(output, rows)
    adapter = find_adapter("mathverse")
    assert score_file(adapter, output).accuracy.value == 0.5
    with asking(service, cache, "judge") as models:
        scored = score_file(adapter, output, models=models)
        assert scored.accuracy.value == 1
        assert [item.verdict.method for item in scored.items] == ["string", "judge"]
        with pytest.raises(ConfigError, match="scored by rules"):
            score_file(find_adapter("wemath"), output, models=models)
        with pytest.raises(ConfigError, match="strict scoring asks no model"):
            score_file(adapter, output, models=models, mode="strict")
    with asking(service, cache, "judge", "extractor") as models:
        scored = score_file(adapter, output, models=models)
        assert [item.verdict.extracted for item in scored.items] == ["B", "50 cm"]
        assert (models.judge.asked, models.extractor.asked) == (0, 2)  # judged before


def test_an_extractor_is_not_asked_for_what_is_plain(tmp_path, service):
    row = {"pid": "1", "answer": "two", "choices": ["one", "two"], "question_type": "choice"}
    row |= {"answer_type": "text", "precision": None, "response": "two", "question": "Which?"}
    rows = [row, row | {"pid": "2", "response": "It must be 50 cm, the second."}]
    put(tmp_path / "output.json", {r["pid"]: r for r in rows})
    with asking(service, tmp_path / "replies.jsonl", "extractor") as models:
        scored = score_file(find_adapter("mathvista"), tmp_path / "output.json", models=models)
        assert [item.verdict.extracted for item in scored.items] == ["two", "50 cm"]
        assert models.extractor.asked == 1
        with pytest.raises(ConfigError, match="extracts by rules"):
            score_file(find_adapter("mathvision"), tmp_path / "output.json", models=models)
    assert not scored.notes
