"""The command ``course``: check the machine, train, evaluate, talk to, merge and export a model, and open the lessons."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import course_lib
from course_lib.errors import CourseError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MISTAKE = 2
"""Exit status for a user's mistake, or a run that was stopped."""


# -- commands: each imports what it needs, so that --help is instant ---------------------------------------------------


def doctor(options: argparse.Namespace) -> int:
    from course_lib.models.doctor import examine

    findings = examine()
    for finding in findings:
        print(
            f"{'ok ' if finding.good else 'BAD'}  {finding.what:16} {finding.found}"
            + ("" if finding.good else f"  -> {finding.remedy}")
        )
    if all(finding.good for finding in findings):
        print("Everything is there. Open the lessons with: course lab")
        return 0
    return MISTAKE


def train(options: argparse.Namespace) -> int:
    from course_lib.training.config import TrainConfig

    config = TrainConfig.from_toml(options.config) if options.config else TrainConfig()
    config = config.with_changes(**{key: getattr(options, key) for key in config.as_dict()})
    from course_lib.training.sft import train as fine_tune

    trained = fine_tune(config, options.out, resume=options.resume)
    from course_lib.training.processes import is_main

    if not is_main():
        return 0
    metrics = trained.metrics
    print(
        f"Trained {metrics['trainable_parameters']:,} of {metrics['parameters']:,} parameters on {metrics['rows']} rows "
        f"in {metrics['seconds']:.0f} s, {metrics['peak_memory_bytes'] / 1e9:.2f} GB peak. Last loss {metrics['final_loss']:.3f}."
    )
    config = trained.config
    weights = trained.folder.weights(config.method)
    flags = f"--model {weights}" if config.method == "full" else f"--model {config.model} --adapter {weights}"
    print(f"Saved to {weights}. Next: course eval {flags}")
    return 0


def evaluate(options: argparse.Namespace) -> int:
    from course_lib.evaluation.report import evaluate as ask
    from course_lib.evaluation.suites import suite

    if options.json:
        _check_writable(options.json)
    model, tokenizer = _load(options)
    report = ask(model, tokenizer, suite(options.suite))
    print(f"{'skill':12} {'exact match':12} {'95 % interval':16} right/asked")
    for skill, score in report.by_skill.items():
        low, high = score.interval()
        print(f"{skill:12} {score.rate:<12.3f} {low:.3f} to {high:.3f}   {score.right}/{score.total}")
    if report.never_paired.total:
        print(f"legal clause types that pretraining never explained: {report.never_paired.rate:.3f}")
    print(f"{len(report.questions)} questions in {report.seconds:.1f} s")
    if options.json:
        from course_lib.training.runs import saying_disk_full, write_whole
        from course_lib.versions import versions

        with saying_disk_full(options.json):
            write_whole(options.json, json.dumps(report.as_json() | {"versions": versions()}, indent=1) + "\n")
    return 0


def chat(options: argparse.Namespace) -> int:
    from course_lib.evaluation.generate import greedy

    model, tokenizer = _load(options)
    if options.prompt is not None:
        print(greedy(model, tokenizer, [options.prompt])[0])
        return 0
    print("Ask something; an empty line or Ctrl-D ends. Each question stands alone.")
    while True:
        try:
            question = input("> ").strip()
        except EOFError:
            return 0
        if not question:
            return 0
        print(greedy(model, tokenizer, [question])[0])


def merge(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from course_lib.lora.folders import stored_tensors
    from course_lib.lora.merge import SMALL
    from course_lib.lora.merge import merge as merge_adapters
    from course_lib.models.loading import import_bitsandbytes, quiet, resolve

    quiet()
    import_bitsandbytes()
    base = resolve(options.model)
    verify = options.verify
    if verify is None and base.is_dir():
        verify = sum(tensor.stop - tensor.start for tensor in stored_tensors(base).values()) < SMALL
    with tqdm(total=0, unit="B", unit_scale=True, unit_divisor=1000, leave=False) as bar:

        def on_step(what: str, done: int, total: int) -> None:
            bar.set_description(what, refresh=False)
            bar.total = total
            bar.update(done - bar.n)

        report = merge_adapters(
            base,
            options.adapter,
            options.out,
            weights=options.weight,
            dtype=options.dtype,
            round_base=options.round_base,
            shard_size=options.shard_size,
            verify=verify,
            on_step=on_step,
        )
    for warning in report.warnings:
        print(f"note: {warning}", file=sys.stderr)
    print(f"Merged into {options.out} ({report.size / 1e6:.1f} MB, {report.seconds:.0f} s). ", end="")
    if report.verified:
        print(
            f"Logits differ from base + adapter by at most {report.difference:.2g}; the likeliest token agrees in {report.agreement:.1%}."
        )
    else:
        print("Logits were not compared: --verify does, and loads the model for it.")
    return 0


def export(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from course_lib.export.gguf import export_gguf
    from course_lib.export.onnx import export_onnx
    from course_lib.models.loading import quiet, resolve

    if options.to == "onnx" and options.dtype not in (None, "float32"):
        raise CourseError(f"ONNX is written in float32, not {options.dtype}: onnxruntime's own tools make it smaller")
    quiet()
    base = resolve(options.model)
    with tqdm(unit="step", leave=False) as bar:

        def on_step(what: str, done: int, total: int) -> None:
            bar.total = total
            bar.set_description(what, refresh=False)
            bar.n = done
            bar.refresh()

        if options.to == "onnx":
            onnx = export_onnx(base, options.out, adapter=options.adapter, verify=options.verify, on_step=on_step)
        else:
            gguf = export_gguf(
                base, options.out, adapter=options.adapter, dtype=options.dtype, verify=options.verify, on_step=on_step
            )
    report = onnx if options.to == "onnx" else gguf
    for warning in report.warnings:
        print(f"note: {warning}", file=sys.stderr)
    print(f"Exported to {options.out} ({report.size / 1e6:.1f} MB, {report.seconds:.0f} s).")
    if report.difference is None:
        print("Not verified: --verify compares its logits with torch's.")
    elif options.to == "onnx":
        print(f"onnxruntime's logits differ from torch's by at most {report.difference:.2g}.")
    else:
        print(
            f"Read back, its logits differ from the model's, rounded likewise, by at most {report.difference:.2g}; rounding to "
            f"{gguf.dtype} itself moves them by {gguf.rounding:.2g}."
        )
    return 0


def sweep(options: argparse.Namespace) -> int:
    from course_lib.training.grids import GRIDS
    from course_lib.training.sweeps import by, over_seeds
    from course_lib.training.sweeps import sweep as run
    from course_lib.training.workers import trial_workers

    _check_writable(options.out)
    configs = GRIDS[options.grid](options.seeds)
    command = f"course sweep --grid {options.grid} --seeds {' '.join(map(str, options.seeds))} --out {options.out.name}"
    with trial_workers(options.workers, options.scheduler) as executor:
        trials = run(configs, file=options.out, command=command, executor=executor)
    changed = [key for key in configs[0].as_dict() if key != "seed" and len({str(c.as_dict()[key]) for c in configs}) > 1]
    print("  ".join([*changed, "learned", "kept"]))
    for key, group in by(trials, *changed).items():
        measured = [[trial.learned for trial in group], [trial.kept for trial in group]]
        print("  ".join([*map(str, key), *(str(over_seeds(v)) if len(v) > 1 else f"{v[0]:.2f}" for v in measured)]))
    print(f"{len(trials)} trials, kept in {options.out}")
    return 0


def pretrain(options: argparse.Namespace) -> int:
    from course_lib.training.pretrain import SMOKE, PretrainConfig
    from course_lib.training.pretrain import pretrain as build

    if options.out.exists() and any(options.out.iterdir()):
        raise CourseError(f"{options.out} is not empty: choose another --out")
    card = build(options.out, SMOKE if options.smoke else PretrainConfig(seed=options.seed))
    print(f"{card['parameters']:,} parameters, {card['seconds']['all']:.0f} s on {card['device']}, saved to {options.out}")
    for skill, score in card["scores"].items():
        print(f"{skill:12} {score['right']}/{score['total']}")
    return 0


def grade(options: argparse.Namespace) -> int:
    if sys.platform != "linux":
        raise CourseError("course grade needs Linux, because its sandbox does: use a Linux machine, WSL or a container")
    course = _course_folder(options.course)
    if options.export:
        from course_lib.grading.export import export
        from course_lib.grading.export import told as exported

        out = options.out or Path(f"{options.name}-{options.export}.csv")
        _check_writable(out)
        print(exported(export(course, options.name, options.export, out, options.roster)))
        return 0
    if options.feedback:
        from course_lib.grading.feedback import write_all

        print(f"Feedback of {write_all(course, options.name)} students is in {course / 'feedback'}")
        return 0
    from course_lib.grading.runner import Options, told
    from course_lib.grading.runner import grade as grade_all
    from course_lib.grading.sandbox import Limits

    if min(options.seconds, options.total, options.memory) <= 0:
        raise CourseError("--seconds, --total and --memory must be above 0")
    if options.unsafe:
        print(
            "course: --unsafe: students' code runs with all your rights, and can read and change whatever you can",
            file=sys.stderr,
        )
    wanted = Options(
        name=options.name,
        course=course,
        submitted=options.submitted,
        jobs=options.jobs,
        scheduler=options.scheduler,
        resume=options.resume,
        students=options.student,
        mode="unsafe" if options.unsafe else options.sandbox,
        limits=Limits(seconds=options.seconds, total=options.total, memory=int(options.memory * 2**30)),
    )
    summary = grade_all(wanted)
    print(told(summary, wanted))
    return 1 if summary.failed else 0


def _course_folder(course: Path | None) -> Path:
    """Nbgrader's course folder: the one that was named, or the current one."""
    folder = course or Path.cwd()
    if not (folder / "source").is_dir():
        raise CourseError(f"{folder} is no course folder of nbgrader's: it has no source/; name yours with --course")
    return folder.resolve()


JUPYTER = Path(__file__).parent / "notebook" / "jupyter"
"""Configuration for `course lab` alone, laid out as Jupyter looks for it."""


def lab(options: argparse.Namespace) -> int:
    from course_lib.notebook.syllabus import lessons_folder

    if shutil.which("jupyter-lab", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])) is None:
        raise CourseError("JupyterLab is not installed: pip install jupyterlab")
    root = _lessons_to_write_in(lessons_folder())
    start = sorted(root.glob("lessons/00_*.ipynb"))[0].relative_to(root)
    arguments = ["-m", "jupyterlab", f"--ServerApp.root_dir={root}", f"--LabApp.default_url=/lab/tree/{start.as_posix()}"]
    arguments += [f"--ContentsManager.hide_globs={name}" for name in ("source", "answers", "__pycache__", "*.part")]  # solutions
    # Instructors have nbgrader's menus in their course's folder; in a learner's Lab they would lead nowhere.
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join([str(JUPYTER), *filter(None, [os.environ.get("JUPYTER_CONFIG_PATH")])])
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        arguments.append("--allow-root")
    if options.no_browser:
        arguments.append("--no-browser")
    os.execv(sys.executable, [sys.executable, *arguments, *options.rest])


def _lessons_to_write_in(lessons: Path) -> Path:
    """The folder above the lessons: the checkout, or a copy of an installed package's lessons in the current folder."""
    if "site-packages" not in lessons.parts:
        return lessons.parent
    copy = Path("lessons").resolve()
    if not copy.exists():
        shutil.copytree(lessons, copy)
        print(f"The lessons are in {copy}: what you change there stays yours.")
    return copy.parent


def _load(options: argparse.Namespace) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model that the flags name, with its adapter if there is one."""
    from course_lib.models.loading import load_adapted, load_model, load_tokenizer, resolve

    base = resolve(options.model)
    tokenizer = load_tokenizer(base)
    if options.adapter is None:
        return load_model(base), tokenizer
    from course_lib.lora.folders import check_adapter

    for warning in check_adapter(base, options.adapter):
        print(f"note: {warning}", file=sys.stderr)
    return load_adapted(base, options.adapter), tokenizer


def _check_writable(file: Path) -> None:
    """Refuse an output file before the work, not after it."""
    if not file.resolve().parent.is_dir():
        raise CourseError(f"there is no folder {file.resolve().parent} to write {file.name} into: make it first")
    if file.is_dir() or not os.access(file.resolve().parent, os.W_OK):
        raise CourseError(f"{file} can't be written: choose another file")


# -- the parser --------------------------------------------------------------------------------------------------------

EXAMPLES = """examples:
  course doctor                                     is everything here?
  course train --out run                            teach wren legal clauses, about a minute on 2 cores
  course eval --adapter run/adapter                 what it learnt, and what it kept
  course chat --adapter run/adapter                 talk to it
  course merge --model tiny --adapter run/adapter --out merged
  course export --to gguf --adapter run/adapter --out wren.gguf
  course train --model owner/name --data mine.jsonl --method qlora --out run2
  course train --lr 4e-3 --replay 0.2 --out kept    mix in general rows against forgetting
  course sweep --grid forgetting --workers 8 --out forgetting.json
  course grade 02_lora_math --course mycourse       grade what students handed in
  course lab                                        open the lessons
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="course",
        description="Fine-tune, measure, merge and export language models with LoRA; open the lessons.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"course {course_lib.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run: object, help: str, example: str) -> argparse.ArgumentParser:
        raw = argparse.RawDescriptionHelpFormatter
        sub = commands.add_parser(name, help=help, description=help, epilog=f"example:\n  {example}", formatter_class=raw)
        sub.set_defaults(run=run)
        return sub

    def model_flags(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--model", metavar="M", help="tiny (wren, the default), small, large, a folder, or a hub id")
        sub.add_argument("--adapter", type=Path, metavar="DIR", help="a LoRA adapter to put on it")

    command("doctor", doctor, "Check that this machine has what the course needs.", "course doctor")

    sub = command("train", train, "Fine-tune a model.", "course train --data mine.jsonl --rank 8 --epochs 2 --out run")
    sub.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the run; must not hold one already")
    sub.add_argument("--config", type=Path, metavar="F.toml", help="a config file; flags override it")
    sub.add_argument("--resume", action="store_true", help="go on with the unfinished run in --out")
    sub.add_argument("--model", metavar="M", help="tiny (wren, the default), small, large, a folder, or a hub id")
    sub.add_argument("--data", metavar="F.jsonl", help="rows of prompt/completion, messages, or instruction/input/output")
    sub.add_argument("--examples", type=int, help="without --data: how many legal clauses (1000)")
    sub.add_argument("--method", help="full, lora (the default) or qlora")
    sub.add_argument("--rank", type=int, help="of the adapter (16)")
    sub.add_argument("--alpha", type=float, help="its scale is alpha/rank (32)")
    sub.add_argument("--target-modules", type=_names, metavar="NAMES", help="comma-separated, such as q_proj,v_proj (all-linear)")
    sub.add_argument("--dropout", type=float, help="on the adapter's input (0)")
    sub.add_argument("--lr", type=float, help="peak learning rate (2e-3)")
    sub.add_argument("--epochs", type=float, help="passes over the data (3)")
    sub.add_argument("--batch-size", type=int, help="rows a forward pass, over all processes together (16)")
    sub.add_argument("--accumulation", type=int, help="forward passes an optimiser step (1)")
    sub.add_argument("--max-length", type=int, help="tokens a row; longer rows are refused, never cut (512)")
    sub.add_argument("--packing", action="store_true", default=None, help="several rows a sequence, kept apart")
    sub.add_argument("--preset", help="standard (the default) or fast: packing, and on a GPU fused kernels and what they need")
    sub.add_argument("--precision", help="auto (the default), float32 or bfloat16")
    sub.add_argument("--replay", type=float, help="general rows mixed in, for each row of the task; 0.2 is one for five (0)")
    sub.add_argument("--ewc", type=float, help="strength of elastic weight consolidation, such as 1e5 (0)")
    sub.add_argument("--general-data", metavar="F.jsonl", help="what replay and ewc keep alive (wren's own skills)")
    sub.add_argument("--seed", type=int, help="of data, adapter and order (0)")
    sub.add_argument("--tracker", help="none (the default), tensorboard, trackio or wandb")

    sub = command(
        "eval",
        evaluate,
        "Ask a model every question of a suite.",
        "course eval --adapter run/adapter --suite all --json scores.json",
    )
    model_flags(sub)
    sub.add_argument("--suite", choices=("legal", "general", "all"), default="all", help="which questions (all)")
    sub.add_argument("--json", type=Path, metavar="F", help="also write scores and answers to a file")

    sub = command("chat", chat, "Talk to a model.", 'course chat --prompt "What is 12 + 30?"')
    model_flags(sub)
    sub.add_argument("--prompt", metavar="TEXT", help="ask this alone, and end")

    sub = command(
        "merge",
        merge,
        "Merge adapters into their base, tensor by tensor, whatever the model's size.",
        "course merge --model tiny --adapter run/adapter --out merged",
    )
    sub.add_argument("--model", required=True, metavar="M", help="the base: tiny, a folder, or a hub id")
    more = "an adapter that was trained on it; give the flag again for several"
    sub.add_argument("--adapter", type=Path, required=True, action="append", metavar="DIR", help=more)
    sub.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the merged model; must be empty or new")
    more = "what an adapter's update is multiplied by, one for each --adapter (1)"
    sub.add_argument("--weight", type=float, action="append", metavar="X", help=more)
    sub.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="of the merged model (as the base stores it)")
    more = "round the base's linear layers to 4 bits and back first, as QLoRA's training saw them: for adapters that it trained"
    sub.add_argument("--round-base", choices=("nf4",), help=more)
    sub.add_argument("--shard-size", type=_bytes, metavar="5GB", help="of a file at most (split as the base is)")
    more = "compare logits with base + adapter, for which the model is loaded, at 8 bytes a parameter (only models under 2 GB)"
    sub.add_argument("--verify", action=argparse.BooleanOptionalAction, help=more)

    sub = command(
        "export",
        export,
        "Write a model for onnxruntime (ONNX) or llama.cpp (GGUF), read it back, and compare logits with torch's.",
        "course export --to onnx --model tiny --adapter run/adapter --out wren-onnx\n"
        "  course export --to gguf --model tiny --adapter run/adapter --out wren.gguf\n"
        "  course export --to gguf --model owner/name --dtype q8_0 --out name-q8_0.gguf",
    )
    sub.add_argument("--to", choices=("onnx", "gguf"), required=True, help="the format")
    model_flags(sub)
    sub.add_argument("--out", type=Path, required=True, metavar="PATH", help="onnx: a new folder; gguf: a new file F.gguf")
    sub.add_argument("--dtype", help="gguf: float32, float16, bfloat16 or q8_0 (as the weights are stored); onnx: float32")
    sub.add_argument(
        "--verify",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="compare logits with torch's (up to a billion parameters)",
    )

    sub = command(
        "sweep",
        sweep,
        "Run a stored sweep of the lessons anew: train and measure wren under many configs. What --out holds is not run again.",
        "course sweep --grid forgetting --seeds 0 1 2 --workers 8 --out forgetting.json",
    )
    sub.add_argument("--grid", choices=("hyperparameters", "forgetting", "orderings"), required=True, help="which configs")
    sub.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of data, adapter, order and questions (0 1 2)")
    sub.add_argument("--workers", type=int, default=1, help="trials side by side: on a GPU about as many as CPU cores (1)")
    sub.add_argument("--scheduler", default="", metavar="ADDRESS", help="run them on a Dask cluster, such as tcp://host:8786")
    sub.add_argument("--out", type=Path, required=True, metavar="F.json", help="results file; an earlier one is gone on with")

    sub = command(
        "pretrain", pretrain, "Make wren anew: corpus, tokenizer and model from one seed.", "course pretrain --smoke --out smoke"
    )
    sub.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the model")
    sub.add_argument("--smoke", action="store_true", help="a minute on a CPU, to see that everything runs")
    sub.add_argument("--seed", type=int, default=0, help="of corpus and weights (0)")

    sub = command(
        "grade",
        grade,
        "Grade what students handed in: sandboxed, into nbgrader's gradebook, with feedback. For instructors (docs/instructors.md).",
        "course grade 02_lora_math --course mycourse --jobs 4",
    )
    sub.add_argument("name", metavar="NAME", help="the assignment, as under source/")
    sub.add_argument("--course", type=Path, metavar="DIR", help="nbgrader's course folder (the current one)")
    sub.add_argument("--submitted", type=Path, metavar="DIR", help="where submissions lie (submitted/ in the course folder)")
    sub.add_argument("--student", nargs="+", default=[], metavar="S", help="only these")
    sub.add_argument("--jobs", type=int, default=0, metavar="N", help="submissions at a time (one a core)")
    sub.add_argument("--scheduler", metavar="ADDR", help="a Dask scheduler, such as tcp://host:8786, whose workers grade")
    sub.add_argument("--resume", action="store_true", help="go on with a run that was stopped; what changed is graded again")
    sub.add_argument("--seconds", type=float, default=10, metavar="S", help="for each cell and test (10)")
    sub.add_argument("--total", type=float, default=60, metavar="S", help="for each submission (60)")
    sub.add_argument("--memory", type=float, default=2, metavar="GIB", help="for each submission (2)")
    sub.add_argument("--sandbox", choices=("auto", "bwrap", "landlock"), default="auto", help="auto takes bubblewrap if it runs")
    sub.add_argument("--unsafe", action="store_true", help="no sandbox: only for code that you trust as your own")
    sub.add_argument("--feedback", action="store_true", help="only write feedback anew, after grading by hand")
    sub.add_argument("--export", choices=("canvas", "moodle"), help="only write marks for a learning platform")
    sub.add_argument("--roster", type=Path, metavar="F.csv", help="with --export: the CSV that the platform gave")
    sub.add_argument("--out", type=Path, metavar="F.csv", help="with --export: the file to write (NAME-canvas.csv)")

    sub = command("lab", lab, "Open the lessons in JupyterLab.", "course lab --no-browser")
    sub.add_argument("--no-browser", action="store_true", help="only print the address")
    sub.add_argument("rest", nargs="*", metavar="-- ARGS", help="handed on to JupyterLab")
    return parser


def _names(text: str) -> str | tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    return names[0] if len(names) == 1 else names


def _bytes(text: str) -> int:
    """A size such as 5GB, 500MB or 1000000."""
    units = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
    number, unit = (text[:-2], units[text[-2:].upper()]) if text[-2:].upper() in units else (text, 1)
    try:
        return int(float(number) * unit)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is no size: write 5GB or 500MB") from None


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit status: 0, or 2 with one sentence on stderr."""
    options = _parser().parse_args(argv)
    try:
        return options.run(options)
    except CourseError as error:
        print(f"course: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("course: stopped", file=sys.stderr)
    return MISTAKE


if __name__ == "__main__":
    sys.exit(main())
