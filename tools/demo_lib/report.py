"""Results of the demo: on the screen, as Markdown and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from comparing.table import Row, as_json, as_markdown, make_rows, note
from comparing.training_log import final_metric, ms_per_step

from demo_lib.plan import STUDENTS, TaskPlan

WEIGHT_NOTE = "How KD's weight was chosen: configs/demo/README.md."


def task_rows(plan: TaskPlan) -> list[Row]:
    """The table of one task, from the logs of its runs."""
    runs = {"teacher": [plan.teacher]}
    runs.update({STUDENTS[method]: jobs for method, jobs in plan.students.items()})
    values = {n: [final_metric(j.folder, plan.task.metric) for j in js] for n, js in runs.items()}
    ms = {name: median(ms_per_step(job.folder) for job in jobs) for name, jobs in runs.items()}
    return make_rows(values, ms)


def write_report(plans: Sequence[TaskPlan], out: Path, quick: bool) -> None:
    """Print the tables, write ``results.md`` and ``results.json``, say where everything lies."""
    tables, data = [], {}
    seeds = 0
    for plan in plans:
        rows = task_rows(plan)
        tables.append(as_markdown(plan.task.name, plan.task.shown, rows))
        data[plan.task.name] = as_json(rows)
        seeds = len(plan.students["kd"])
    remark = f"{note(seeds)} {WEIGHT_NOTE}"
    if quick:
        remark = f"--quick: a few steps only, these numbers mean nothing.\n\n{remark}"
    text = "\n\n".join([*tables, remark])
    (out / "results.md").write_text(text + "\n")
    (out / "results.json").write_text(json.dumps(data, indent=2) + "\n")
    print(f"\n{text}\n")
    print(f"table      {out / 'results.md'}, {out / 'results.json'}")
    for plan in plans:
        for picture in sorted(plan.pictures.folder.glob("*.png")):
            print(f"picture    {picture}")
        print(f"runs       {plan.teacher.folder.parent} (log.txt, checkpoint and config of each)")
