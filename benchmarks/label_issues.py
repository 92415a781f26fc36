"""Measure the detection of swapped labels by mmickd.diagnostics.label_issues and by cleanlab.

    python benchmarks/label_issues.py --data digits
    python benchmarks/label_issues.py --data CIFAR100/train --epochs 8

Of each class, 10 % of the images get the label of another class. A teacher is trained on these
labels, and each rule scores them. AUROC and precision (at the number of swapped labels) measure the
order of the scores; the last two columns measure the labels that a rule reports as issues. cleanlab
is optional: `pip install cleanlab`. Its rules get the probabilities of the teacher, and of a
logistic regression on the teacher's features (5-fold cross-validation).
"""

import argparse
import random
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

Rule = tuple[str, np.ndarray, np.ndarray | None]
"""Name, scores (the higher, the more likely an error), and reported labels (or None)."""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="digits", help="digits, or a folder of class folders")
    parser.add_argument("--classes", type=int, default=20, help="classes of the folder, spaced")
    parser.add_argument(
        "--epochs", type=int, nargs="+", default=[20, 80], help="epochs of the teacher"
    )
    parser.add_argument(
        "--features",
        nargs="+",
        default=["auto", "backbone.layer2"],
        help="layers whose features are used for retrieval",
    )
    parser.add_argument("--swapped", type=float, default=0.1, help="share of each class")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--work", type=Path, default=Path("work_dirs/label_issues"),
        help="folder for data and teachers, which later calls reuse",
    )  # fmt: skip
    return parser.parse_args(argv)


def swap_labels(source: Path, target: Path, names: Sequence[str], share: float, seed: int) -> None:
    """Link the files of class folders, a share of them into other folders; names keep the class."""
    if target.exists():
        return
    generator = random.Random(seed)
    for name in names:
        files = sorted((source / name).iterdir())
        errors = set(generator.sample(range(len(files)), round(share * len(files))))
        for number, file in enumerate(files):
            other_names = [other for other in names if other != name]
            folder = target / (generator.choice(other_names) if number in errors else name)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}__{file.name}").symlink_to(file.resolve())


def teacher_config(data: Path, names: Sequence[str], is_digits: bool, epochs: int) -> Any:
    """Return the config of configs/demo/wrong_labels_teacher.py, for images of 16 or 32 pixels."""
    from mmengine.config import Config

    cfg = Config.fromfile(ROOT / "configs/demo/wrong_labels_teacher.py")
    dataset = dict(data_root=str(data), data_prefix="", classes=list(names))
    dataset["extensions"] = (".png", ".jpg", ".webp")
    for split in ("train", "val", "test"):
        cfg[f"{split}_dataloader"].dataset.update(dataset)
    if not is_digits:
        cfg.model.backbone.strides = (2, 2, 2)
        cfg.model.head.num_classes = len(names)
        cfg.data_preprocessor.update(
            num_classes=len(names), mean=[129.0, 124.0, 112.0], std=[68.0, 65.0, 70.0]
        )
        cfg.train_dataloader.batch_size = 64
        cfg.train_dataloader.dataset.pipeline[1:2] = [
            dict(type="RandomFlip", prob=0.5, direction="horizontal"),
            dict(type="RandomCrop", crop_size=32, padding=4),
        ]
        cfg.optim_wrapper.optimizer.lr = 0.005
    cfg.param_scheduler.T_max = cfg.train_cfg.max_epochs = cfg.train_cfg.val_interval = epochs
    cfg.default_hooks.checkpoint.interval = epochs
    cfg.update(visualizer=None, log_level="WARNING")
    return cfg


def train_teacher(cfg: Any, folder: Path, seed: int, epochs: int) -> Path:
    """Return the checkpoint of a teacher, which is trained if the checkpoint is missing."""
    from mmickd.commands.arguments import build_runner

    checkpoint = folder / f"epoch_{epochs}.pth"
    if checkpoint.exists():
        return checkpoint
    training = cfg.copy()
    training.update(
        work_dir=str(folder), experiment_name=folder.name, randomness=dict(seed=seed),
        val_cfg=None, val_dataloader=None, val_evaluator=None,
    )  # fmt: skip
    build_runner(training).train()
    return checkpoint


def bank_of(cfg: Any, checkpoint: Path, features: str) -> tuple[Any, np.ndarray]:
    """Return the teacher's bank of its training images, and the true class of each row."""
    from mmickd.commands.open_run import open_run
    from mmickd.gallery.row_locator import GalleryBank, RowLocator

    file = checkpoint.parent / "teacher.py"
    cfg.dump(file)
    run_cfg = cfg.copy()
    teacher = dict(cfg=str(file), checkpoint=str(checkpoint), features=features)
    bank = dict(cache_dir=None, dtype="fp32")
    run_cfg.custom_hooks = [dict(type="mmickd.ICKDHook", teacher=teacher, bank=bank)]
    with open_run(run_cfg) as run:
        gallery_bank = GalleryBank.of(run.ready)
        names = list(cfg.train_dataloader.dataset.classes)
        rows = RowLocator(gallery_bank)
        paths = [rows.name_of(image) for image in gallery_bank.bank.ids.tolist()]
        return gallery_bank.bank, np.array(
            [names.index(Path(p).name.split("__")[0]) for p in paths]
        )


def apply_rules(bank: Any) -> Iterator[Rule]:
    """Yield the scores and decisions of each rule for the rows of a bank."""
    from mmickd.diagnostics.label_issues import label_issues

    labels = bank.labels.numpy()
    issues = label_issues(bank)
    order = {image: number for number, image in enumerate(issues.ids.tolist())}
    rows = torch.tensor([order[image] for image in bank.ids.tolist()])
    yield (
        "mmickd: labels and predictions of neighbours",
        *(x[rows].numpy() for x in (issues.scores, issues.is_issue)),
    )
    by_label = neighbour_labels(bank, count=10)
    scores = 1 - by_label[np.arange(len(labels)), labels]
    yield "labels of 10 neighbours (former `gallery`)", scores, by_label.argmax(1) != labels
    by_label = neighbour_labels(bank, count=5)
    probability, predicted = (x.numpy() for x in bank.logits.float().softmax(1).max(dim=1))
    is_issue = (probability > 0.9) & (predicted != labels) & (by_label.max(1) > 0.5)
    is_issue &= by_label.argmax(1) == predicted
    yield "sure teacher and 5 neighbours (former `check`)", is_issue.astype(float), is_issue
    try:
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores
    except ImportError:
        return
    for name, probabilities in (
        ("teacher", bank.logits.float().softmax(1).numpy()),
        ("cross-validated", cross_validated(bank)),
    ):
        is_issue = find_label_issues(labels, probabilities)
        for method in ("self_confidence", "normalized_margin"):
            scores = -get_label_quality_scores(labels, probabilities, method=method)
            yield f"cleanlab, {name}, {method}", scores, is_issue


def neighbour_labels(bank: Any, count: int) -> np.ndarray:
    """Return the ``(M, C)`` shares of the labels among the nearest rows, by similarity / 0.1."""
    similarity = bank.features.float() @ bank.features.float().T
    nearest, places = similarity.fill_diagonal_(-torch.inf).topk(count, dim=1)
    shares = torch.zeros(len(bank), bank.num_classes)
    return shares.scatter_add_(1, bank.labels[places], (nearest / 0.1).softmax(dim=1)).numpy()


def cross_validated(bank: Any) -> np.ndarray:
    """Return ``(M, C)`` out-of-sample probabilities of a classifier on the bank's features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    classifier = LogisticRegression(max_iter=100)
    features, labels = bank.features.float().numpy(), bank.labels.numpy()
    return cross_val_predict(classifier, features, labels, cv=5, method="predict_proba")


def figures(scores: np.ndarray, is_issue: np.ndarray | None, is_error: np.ndarray) -> list[float]:
    """Return AUROC, precision at the number of errors, and precision and recall of the issues."""
    from sklearn.metrics import roc_auc_score

    count = int(is_error.sum())
    threshold = np.sort(scores)[-count]
    above, equal = scores > threshold, scores == threshold
    # for equal scores, the expected value over all orders
    hits = is_error[above].sum() + (count - above.sum()) * is_error[equal].mean()
    values = [roc_auc_score(is_error, scores), hits / count]
    if is_issue is not None:
        values += [is_error[is_issue].mean() if is_issue.any() else np.nan]
        values += [is_issue[is_error].mean()]
    return values


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table for each teacher and layer."""
    args = parse_args(argv)
    from mmengine.logging import MMLogger

    from mmickd.utils.packages import repair_scopes

    repair_scopes()
    MMLogger.get_instance("mmengine", log_level="WARNING")
    results: dict[tuple[int, str], dict[str, list[list[float]]]] = {}
    is_digits = args.data == "digits"
    work = (args.work / Path(args.data).name).resolve()
    source = work / "digits/train" if is_digits else Path(args.data)
    if is_digits:
        converter = ROOT / "tools/dataset_converters/digits.py"
        command = [sys.executable, str(converter), "--train-per-class", "60", "--out"]
        subprocess.run([*command, str(source.parent)], check=True)
    names = sorted(folder.name for folder in source.iterdir() if folder.is_dir())
    if not is_digits:
        names = names[:: max(1, len(names) // args.classes)][: args.classes]
    for seed in range(args.seeds):
        data = work / f"swapped_{seed}"
        swap_labels(source, data, names, args.swapped, seed)
        for epochs in args.epochs:
            cfg = teacher_config(data, names, is_digits, epochs)
            checkpoint = train_teacher(cfg, work / f"teacher_{seed}_{epochs}", seed, epochs)
            for features in args.features:
                bank, classes = bank_of(cfg, checkpoint, features)
                is_error = classes != bank.labels.numpy()
                table = results.setdefault((epochs, features), {})
                for name, scores, is_issue in apply_rules(bank):
                    row = figures(scores, is_issue, is_error)
                    table.setdefault(name, []).append(row)
                accuracy = float((bank.logits.argmax(1).numpy() == classes).mean())
                print(f"seed {seed}, {epochs} epochs, {features}: accuracy {accuracy:.3f}")
    for (epochs, features), table in results.items():
        print(f"\n{args.data}, teacher of {epochs} epochs, features {features!r}\n")
        print("| rule | AUROC | precision | precision of issues | recall of issues |")
        print("|---|---|---|---|---|")
        for name, rows in table.items():
            print(f"| {name} | {' | '.join(map(mean_and_error, zip(*rows, strict=True)))} |")


def mean_and_error(values: Sequence[float]) -> str:
    """Return mean ± standard error in percent; '-' if a value is missing."""
    if np.isnan(values).any():
        return "-"
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return f"{100 * statistics.mean(values):.1f} ± {100 * error:.1f}"


if __name__ == "__main__":
    main()
