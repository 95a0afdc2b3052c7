"""How far official verdicts are reproduced, file by file.

    AIR_BENCHMARKS=FOLDER python benchmarks/agreement.py

FOLDER holds mathvista/, mathvision/ and logicvista/, each with official outputs in outputs/. The
last column starts from the raw response; of MathVista's programs (*_code*) that is what they
printed.
"""

from collections import Counter
from functools import partial
from pathlib import Path

from air_reasoning.eval.benchmarks import mathvista
from air_reasoning.eval.known import data_folder, find_adapter
from air_reasoning.eval.responses import read_responses
from air_reasoning.eval.score import ScoredFile, score_file


def main() -> None:
    """Print one table a benchmark."""
    for name in ("mathvista", "mathvision", "logicvista"):
        adapter = find_adapter(name)
        folder = data_folder(adapter, None)
        if folder is None or not (folder / "outputs").is_dir():
            print(f"{name}: no outputs; set AIR_BENCHMARKS")
            continue
        sums = Counter[str]()
        print(f"\n{adapter.title:36} from extraction   from response")
        for path in sorted((folder / "outputs").iterdir()):
            cells = list[str]()
            for start in ("extraction", "response"):
                scored = score_file(adapter, path, folder, start=start)
                same, n = scored.agreement
                cells.append(f"{100 * same / n:15.2f}")
                prose = start == "extraction" or "code" not in path.name
                if prose:
                    sums[start] += same
                    sums[f"{start} n"] += n
                count_kinds(scored, start, sums)
            if name == "mathvista":
                sums["today's script"] += agreement_of_todays_script(path, folder)
            print(f"{path.name.partition('.')[0][:36]:36} {' '.join(cells)}")
        for start in ("extraction", "response"):
            n = sums[f"{start} n"]
            print(f"all, from {start}: {100 * sums[start] / n:.2f} % of {n}")
        if name == "mathvista":
            share = 100 * sums["today's script"] / sums["extraction n"]
            print(f"all, from extraction, today's script for every file: {share:.2f} %")
        for kind in ("free", "choice"):
            if n := sums[f"{kind} n"]:
                print(f"{kind}, from response: {100 * sums[kind] / n:.2f} % of {n}")


def count_kinds(scored: ScoredFile, start: str, sums: Counter[str]) -> None:
    """Agreement from the response by kind, for MATH-Vision."""
    for item in scored.items:
        kind = str(item.task.meta["kind"])
        if start == "response" and kind in ("free", "choice") and item.stored is not None:
            sums[kind] += item.stored == item.verdict.correct
            sums[f"{kind} n"] += 1


def agreement_of_todays_script(path: Path, folder: Path) -> int:
    """MathVista's integers by ``int(float(x))`` whatever version the file shows."""
    tasks = {task.id: task for task in mathvista.load(folder, images=False)}
    check = partial(mathvista.official_extraction, whole_integers=False)
    return sum(
        check(tasks[f"mathvista/{row['pid']}"], row["extraction"]).correct == row["true_false"]
        for row in read_responses(path)
    )


if __name__ == "__main__":
    main()
