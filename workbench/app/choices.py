"""Checkboxes in groups, a line each: what is chosen is one value, as with any other control.

ipywidgets' own list for several choices drops all others at a plain click.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import ipywidgets as ipw
import traitlets

from workbench.app.views import pieces
from workbench.generators import GENERATORS, Entry

CONTROLS = "Controls: results known in advance"
ELSEWHERE = "Need a server, a model or a simulator of yours"
# What a generator asks for before it can run at all.
NEEDS = {
    "llm": "a model server",
    "great": "a checkpoint",
    "simulation": "a simulator",
    "bayes-expert": "edges between columns",
}
FAMILIES = {
    "statistical": "Statistics and trees",
    "bayesian network": "Bayesian networks",
    "mitigation": "Against bias",
    "control": CONTROLS,
}
NEURAL = "Neural networks"


class Checkboxes(ipw.VBox):
    """Named checkboxes under headings. `value` holds the names that are ticked, in their order.

    groups: heading -> {name: (words, tooltip)}. A box has no tooltip of its own: the browser's side of
    ipywidgets fails on a box that has one.
    """

    value = traitlets.Tuple()

    def __init__(
        self,
        label: str,
        groups: Mapping[str, Mapping[str, tuple[str, str]]],
        value: Iterable[str] = (),
        **options,
    ):
        self.label = label
        self.boxes: dict[str, ipw.Checkbox] = {}
        children: list[ipw.Widget] = []
        for heading, members in groups.items():
            children.append(ipw.HTML(pieces().family(heading)))
            for name, (words, tooltip) in members.items():
                box = ipw.Checkbox(
                    description=words,
                    tooltip=tooltip,
                    indent=False,
                    layout=ipw.Layout(width="auto", margin="0"),
                )
                box.observe(self._ticked, "value")
                self.boxes[name] = box
                children.append(box)
        super().__init__(children, **options)
        self.observe(self._chosen, "value")
        self.value = tuple(value)

    _quiet = False  # while boxes are set from the value

    def _ticked(self, _change) -> None:
        if not self._quiet:
            self.value = tuple(name for name, box in self.boxes.items() if box.value)

    def _chosen(self, change) -> None:
        self._quiet = True
        for name, box in self.boxes.items():
            box.value = name in change["new"]
        self._quiet = False


def generator_groups() -> dict[str, dict[str, tuple[str, str]]]:
    """Every registered generator under its heading; controls and what needs more than a table last."""
    groups: dict[str, dict[str, tuple[str, str]]] = {}
    for name, entry in GENERATORS.items():
        groups.setdefault(_heading(name, entry), {})[name] = (_label(name, entry), entry.source)
    for last in (CONTROLS, ELSEWHERE):
        groups[last] = groups.pop(last)
    return groups


def _heading(name: str, entry: Entry) -> str:
    if name in NEEDS:
        return ELSEWHERE
    return FAMILIES.get(entry.family, NEURAL)


def _label(name: str, entry: Entry) -> str:
    needs = f" (needs {NEEDS[name]})" if name in NEEDS else ""
    return f"{name}: {entry.title}{needs}"
