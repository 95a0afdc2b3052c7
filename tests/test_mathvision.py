"""MATH-Vision: the official extraction and its quirks, and named errors for a broken folder."""

import shutil
from pathlib import Path

import pytest

from air_reasoning.answers import check_answer
from air_reasoning.errors import DataError
from air_reasoning.eval.benchmarks import mathvision


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("The answer is (D).", "d"),
        (r"so $\boxed{\text{(E)}}$. Done", "e"),
        ("Therefore, the answer is 12. We are done", "12"),
        (r"\boxed{3} or \boxed{\dfrac{1}{2}}", r"\frac{1}{2}"),
        ("x = 1/2", r"\frac{1}{2}"),
        ("C\nbecause of the symmetry", "c"),
    ],
)
def test_official_extraction(response, answer):
    assert mathvision.official_answer(response) == answer


def test_official_quirks_are_not_strict():
    assert mathvision.official_equal("1/60", "1/55", [])
    assert mathvision.official_equal("B", "12", ["10", "12"])
    assert not mathvision.official_equal("3", "4", [])
    assert not mathvision.official_equal("3", "", [])


def test_loads_the_real_split(benchmark_folder):
    tasks = mathvision.load(benchmark_folder("mathvision"))
    assert len(tasks) == 304
    assert [t.id for t in tasks[:2]] == ["mathvision/4", "mathvision/5"]
    first, third = tasks[0], tasks[2]
    assert first.answer.value == "6"
    assert first.meta["split"] == "test"
    assert first.meta["kind"] == "free"
    assert "<image1>" not in first.prompt[1].text
    assert third.choices == ["A", "B", "C", "D", "E"]
    assert third.prompt[1].text.endswith("(E) E")
    assert Path(first.images[0].path).is_file()
    assert mathvision.official_correct(third, "The answer is (D).")
    assert check_answer(third.answer, "The answer is (D).", third.choices).correct


def test_absent_folder_says_what_to_get(tmp_path):
    with pytest.raises(DataError, match=r"testmini\.jsonl: not there; .*MATH-V"):
        mathvision.load(tmp_path)


def test_missing_picture_wrong_count_and_broken_line_are_named(tmp_path, benchmark_folder):
    folder = benchmark_folder("mathvision")
    shutil.copy(folder / "testmini.jsonl", tmp_path)
    with pytest.raises(DataError, match=r"304 of 304 pictures are missing, first images/4\.jpg"):
        mathvision.load(tmp_path)
    lines = (folder / "testmini.jsonl").read_text(encoding="utf-8").splitlines()
    (tmp_path / "testmini.jsonl").write_text("\n".join(lines[:300]), encoding="utf-8")
    with pytest.raises(DataError, match="300 items, expected 304"):
        mathvision.load(tmp_path)
    (tmp_path / "testmini.jsonl").write_text('{"id": "1"}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"testmini\.jsonl:1: key 'question' is missing"):
        mathvision.load(tmp_path)
