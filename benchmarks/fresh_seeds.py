"""Does each claim of the course hold with luck that nothing was tuned on? Every lesson, run again under fresh seeds.

    python -m benchmarks.fresh_seeds [--seeds 101 102 103 104 105] [--lessons 00 01] [--workers 1]

A seed draws the training rows, the adapter's start, the order of the rows and the questions (`COURSE_SEED`). Claims about stored
results don't depend on it; their own fresh seeds are in ``lessons/results/orderings.json``.
"""

import argparse
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from course_lib.notebook.runner import run_lesson
from course_lib.notebook.syllabus import claims, lessons, lessons_folder
from course_lib.versions import versions

RESULTS = Path(__file__).parent / "results" / "fresh_seeds.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102, 103, 104, 105])
    parser.add_argument("--lessons", nargs="+", default=list(lessons()), metavar="NN")
    parser.add_argument("--workers", type=int, default=1, help="lessons side by side; each takes two cores")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    results = json.loads(options.out.read_text()) if options.out.exists() else {"held": {}, "errors": {}}

    def run(job: tuple[int, str]) -> None:
        seed, number = job
        started = time.perf_counter()
        threads = str(max(1, min(2, (os.cpu_count() or 2) // options.workers)))
        ran = run_lesson(
            lessons_folder() / lessons()[number].file, all_claims=True, COURSE_SEED=str(seed), OMP_NUM_THREADS=threads
        )
        name = f"{number} seed {seed}"
        results["errors"].pop(name, None)
        if ran.status:
            results["errors"][name] = ran.err.strip().splitlines()[-1]
        for claim, held in ran.claims.items():
            results["held"].setdefault(claim, {})[str(seed)] = held
        failed = [claim for claim, held in ran.claims.items() if not held]
        print(f"{name}: {len(ran.claims)} claims, failed: {failed or 'none'}, {time.perf_counter() - started:.0f} s", flush=True)
        order = list(claims())
        results["held"] = dict(sorted(results["held"].items(), key=lambda item: order.index(item[0])))
        results["command"] = "python -m benchmarks.fresh_seeds"
        results["versions"] = versions()
        options.out.write_text(json.dumps(results, indent=1) + "\n")

    with ThreadPoolExecutor(options.workers) as pool:
        list(pool.map(run, [(seed, number) for seed in options.seeds for number in options.lessons]))


if __name__ == "__main__":
    main()
