"""Preparation of a checked run for its first step: banks, memories and the distiller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mmengine.logging import print_log

from mmickd.banks.memory_bank import MemoryBank
from mmickd.banks.options import BankOptions
from mmickd.banks.queue_bank import QueueBank
from mmickd.banks.ranks import FrozenBank
from mmickd.building.build import MIN_CLASSES, build_banks
from mmickd.building.images import BankImages
from mmickd.diagnostics.bank_findings import size_findings, teacher_findings
from mmickd.diagnostics.bank_report import BankReport, report_of
from mmickd.diagnostics.finding import Finding
from mmickd.retrieval.memory import Memory
from mmickd.storage.cache import BankCache, StoredBank
from mmickd.storage.files import default_cache_dir
from mmickd.storage.get_or_build import get_or_build_banks
from mmickd.teachers import NetworkTeacher
from mmickd.training.checked_run import CheckedRun
from mmickd.training.distiller import Distiller
from mmickd.training.options import HookOptions
from mmickd.utils.distributed import long_timeout_group
from mmickd.utils.errors import OptionError


@dataclass(frozen=True)
class FrozenBanks:
    """Banks of a frozen teacher by level; empty if there are none.

    Args:
        banks: Banks on the run's device, or this rank's shards of them.
        stored: Locations of the banks in the cache; empty without a cache.
        reports: Figures of the banks; on rank 0 only.
        samples: Small banks (samples of the whole banks), on the CPU of rank 0; empty otherwise.
        findings: Findings about the banks.
    """

    banks: dict[str, FrozenBank] = field(default_factory=dict)
    stored: dict[str, StoredBank] = field(default_factory=dict)
    reports: dict[str, BankReport] = field(default_factory=dict)
    samples: dict[str, MemoryBank] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class ReadyRun(CheckedRun):
    """Checked run that is ready for its first step.

    Args:
        distiller: Distiller, with teacher and memories.
        frozen: Banks of a frozen teacher.
    """

    distiller: Distiller
    frozen: FrozenBanks


def prepare(options: HookOptions, checked: CheckedRun, is_sample: bool = False) -> ReadyRun:
    """Build or load the banks, and open the teacher.

    Args:
        options: Options of the hook.
        checked: Run that was checked with the same options.
        is_sample: True for a small bank, a sample of the whole bank: classes may be missing, and
            its sizes are not reported.

    Raises:
        ICKDError: On every rank, with the cause, the option and advice.
    """
    teacher, device, frozen = options.teacher, checked.context.device, FrozenBanks()
    if checked.images is not None:
        with long_timeout_group():
            frozen = _frozen_banks(options, checked, checked.images, is_sample)

    def make_memory(width: int) -> Memory:
        shape = checked.num_classes, options.bank.queue_capacity, width
        try:
            queues = {level: QueueBank(*shape, device=device) for level in checked.queue_levels}
        except RuntimeError as error:  # torch's error if there is not enough memory
            raise OptionError(
                "bank.capacity_per_class",
                options.bank.queue_capacity,
                f"the queues do not fit into memory ({error}). Set it lower.",
            ) from error
        return Memory(
            {**frozen.banks, **queues},
            options.retriever,
            options.exclude_same_id,
            query_by_stored=options.query == "bank",
        )

    teacher.open(make_memory, options.bank.momentum)
    distiller = Distiller(
        teacher, checked.terms, checked.levels, options.anchors, options.bank.seed
    )
    return ReadyRun(**vars(checked), distiller=distiller, frozen=frozen)


def _frozen_banks(
    options: HookOptions, checked: CheckedRun, images: BankImages, is_sample: bool
) -> FrozenBanks:
    """Build or load the banks of a frozen teacher."""
    network, bank, context = options.teacher.frozen_network, options.bank, checked.context
    assert network is not None
    num_positives = max((request.num_positives for request in checked.requests), default=0)
    frozen = FrozenBanks()
    built: list[str] = []

    def build(levels: Sequence[str]) -> dict[str, MemoryBank | None]:
        built.extend(levels)
        batch_size = bank.batch_size or context.batch_size
        num_workers = context.num_workers if bank.num_workers is None else bank.num_workers
        min_classes = 1 if is_sample else MIN_CLASSES
        return build_banks(levels, bank, images, network, batch_size, num_workers, min_classes)

    def inspect(level: str, whole: MemoryBank | None) -> None:
        if whole is None:
            return
        report = report_of(whole, num_positives, options.exclude_same_id)
        print_log(f"{level} level: {report}", logger="current")
        frozen.reports[level] = report
        level_findings = [*teacher_findings(report.class_agreement, report.present)]
        if is_sample:
            frozen.samples[level] = whole
        else:
            level_findings += size_findings(whole.offsets.diff(), checked.requests)
        frozen.findings.extend(finding.at(f"{level} level") for finding in level_findings)

    cache = _cache(bank, network, images)
    banks = get_or_build_banks(
        checked.cache_keys,
        cache,
        build,
        bank.shard,
        width=network.width,
        device=context.device,
        inspect=inspect,
        report=frozen.findings.append,
    )
    frozen.banks.update(banks)
    if cache is not None:
        for level, cache_key in checked.cache_keys.items():
            frozen.stored[level] = StoredBank(cache, cache_key, level not in built)
    return frozen


def _cache(bank: BankOptions, network: NetworkTeacher, images: BankImages) -> BankCache | None:
    if bank.cache_dir is None:
        return None
    root = default_cache_dir() if bank.cache_dir == "auto" else bank.cache_dir
    return BankCache(root, bank.cache_limit, network.file_names(), images.names)
