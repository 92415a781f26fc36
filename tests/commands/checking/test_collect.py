"""Facts about a run that are collected once, from a config that stays as it is."""

from __future__ import annotations

import copy

import pytest

from mmickd.commands.checking.collect import collect
from mmickd.training import checked_run
from tests.helpers import toys


def test_the_config_is_not_changed_and_the_banks_pipeline_is_chosen_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cfg = toys.classifier().distilled(bank={"seed": 1})
    before, chosen, choose = copy.deepcopy(cfg.to_dict()), [], checked_run.choose_pipelines

    def recorded(*args):
        chosen.append(choose(*args))
        return chosen[-1]

    monkeypatch.setattr(checked_run, "choose_pipelines", recorded)
    values = collect(cfg, images=5).to_json()
    assert len(chosen) == 1 and str(chosen[0][0]) == values["images"]["pipeline"]
    assert (values["images"]["number"], values["images"]["taken"]) == (18, 5)
    assert cfg.to_dict() == before
