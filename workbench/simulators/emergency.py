"""An emergency department as discrete events (SimPy): who comes when, who waits for whom, and who
leaves unseen.

Patients come by a Poisson process whose rate follows the hour of the day, get a triage class from 1
(at once) to 5, and wait in priority queues for a nurse, then a bed, then a doctor; the bed is held
until they leave. Who waits past their patience leaves unseen. `Queue` is the same machinery set up
as M/M/c (one class, even hours, exponential treatment, no patience), whose waits are those of
`erlang_c` (Erlang 1917). It knows no ambulance diversion, no breaks of the staff and no second
visit.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import pandas as pd

from workbench.simulators import Prior

START = pd.Timestamp("2024-01-01")
# Arrivals by hour of day, relative to their mean: few at night, most about noon (shape after
# McCarthy et al. 2008).
HOURS = (
    np.array([6, 5, 4, 3, 3, 3, 4, 6, 9, 12, 14, 14, 14, 13, 13, 13, 13, 13, 13, 13, 12, 11, 9, 7])
    / 9.0
)
CLASSES = np.array([0.02, 0.18, 0.45, 0.27, 0.08])  # triage 1 to 5
TREATMENT = np.array([2.0, 1.5, 1.0, 0.6, 0.4])  # doctor's time by class, relative to `treatment`
ADMITTED = np.array([0.7, 0.4, 0.2, 0.04, 0.01])  # share admitted, by class


class Emergency:
    """Visits to an emergency department."""

    columns: ClassVar = {
        "arrival": "datetime",
        "triage": "categorical",
        "age": "integer",
        "ambulance": "boolean",
        "nurse_seen": "datetime",
        "doctor_seen": "datetime",
        "departure": "datetime",
        "wait": "numeric",
        "stay": "numeric",
        "disposition": "categorical",
    }
    missing = ("nurse_seen", "doctor_seen", "wait")
    hours, classes, weights, admissions = HOURS, CLASSES, TREATMENT, ADMITTED
    priors: ClassVar = {
        "arrivals": Prior(2, 12, "patients an hour, mean of the day", "log-uniform"),
        "treatment": Prior(8, 40, "doctor's minutes a patient", "log-uniform"),
        "assessment": Prior(4, 15, "nurse's minutes a patient", "log-uniform"),
        "rest": Prior(30, 240, "minutes in bed after the doctor, tests and results", "log-uniform"),
        "patience": Prior(
            60, 600, "mean minutes before leaving unseen, triage 3 to 5", "log-uniform"
        ),
        "doctors": Prior(2, 6, "on duty", "whole"),
        "nurses": Prior(1, 5, "at triage", "whole", calibrated=False),
        "beds": Prior(10, 40, "beds", "whole", calibrated=False),
        "ambulances": Prior(0.1, 0.3, "share", calibrated=False),
    }

    def simulate(
        self,
        n: int,
        rng: np.random.Generator,
        arrivals: float = 6,
        treatment: float = 20,
        assessment: float = 7,
        rest: float = 90,
        patience: float = 240,
        doctors: float = 3,
        nurses: float = 2,
        beds: float = 20,
        ambulances: float = 0.2,
    ) -> pd.DataFrame:
        """n visits in the order of arrival, after a day that is not looked at. wait (to the doctor)
        and stay are in minutes.
        """
        import simpy

        # The first day begins with an empty department, which no real one ever is.
        warm = int(24 * arrivals)
        total = warm + n
        arrival = thinned(total, arrivals / 60, self.hours, rng)
        # All that belongs to a patient is drawn beforehand: who waits for whom moves no draw.
        triage = rng.choice(len(self.classes), total, p=self.classes)
        came = rng.random(total) < np.clip(
            ambulances * np.array([4.0, 2.2, 0.9, 0.3, 0.1])[triage], 0, 1
        )
        age = np.clip(rng.gamma(3.2, 14, total) - 4 * triage + 6, 0, 99).astype(int)
        # With the nurse, with the doctor, and in bed afterwards.
        durations = [
            rng.exponential(assessment, total),
            self.service(total, rng) * treatment * self.weights[triage],
            rng.exponential(rest, total)
            * np.where(triage < 2, 1.4, np.where(triage > 2, 0.4, 1.0)),
        ]
        # The gravest cases are too ill to leave.
        leaves = np.where(triage < 2, np.inf, rng.exponential(patience, total))
        admitted = rng.random(total) < np.clip(self.admissions[triage] * (1 + (age > 65)), 0, 0.95)
        boarding = rng.exponential(120, total) * admitted
        nurse_at, doctor_at, departed = (np.full(total, np.nan) for _ in range(3))

        env = simpy.Environment()
        # By triage, not by arrival; among equals who came first.
        staff = [
            simpy.PriorityResource(env, max(int(count), 1)) for count in (nurses, beds, doctors)
        ]

        # simpy's processes are generators: each yield waits for a person, a bed or time. Whoever
        # waits beside a timeout leaves when that comes first.
        def visit(i: int):
            gone = arrival[i] + leaves[i]
            with staff[0].request(priority=triage[i]) as nurse:
                yield nurse | env.timeout(max(gone - env.now, 0)) if leaves[i] < np.inf else nurse
                if not nurse.triggered:
                    departed[i] = env.now
                    return
                nurse_at[i] = env.now
                yield env.timeout(durations[0][i])
            with staff[1].request(priority=triage[i]) as bed:
                yield bed | env.timeout(max(gone - env.now, 0)) if leaves[i] < np.inf else bed
                if bed.triggered:
                    with staff[2].request(priority=triage[i]) as doctor:
                        yield (
                            doctor | env.timeout(max(gone - env.now, 0))
                            if leaves[i] < np.inf
                            else doctor
                        )
                        if doctor.triggered:
                            doctor_at[i] = env.now
                            yield env.timeout(durations[1][i])
                    if not np.isnan(doctor_at[i]):
                        yield env.timeout(durations[2][i] + boarding[i])
            departed[i] = env.now

        def door():
            for i in range(total):
                yield env.timeout(arrival[i] - env.now)
                env.process(visit(i))

        # Runs until everybody has left.
        env.process(door())
        env.run()
        # Who left unseen has no wait to the doctor, and no reason to be admitted.
        seen = ~np.isnan(doctor_at)
        table = pd.DataFrame(
            {
                "arrival": _stamp(arrival),
                "triage": (triage + 1).astype(str),
                "age": age,
                "ambulance": came,
                "nurse_seen": _stamp(nurse_at),
                "doctor_seen": _stamp(doctor_at),
                "departure": _stamp(departed),
                "wait": np.round(doctor_at - arrival, 1),
                "stay": np.round(departed - arrival, 1),
                "disposition": np.select([~seen, admitted], ["left unseen", "admitted"], "home"),
            }
        )
        return table.iloc[warm:].reset_index(drop=True)

    def service(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """How long doctors take for n patients, relative to their mean."""
        return rng.lognormal(-0.125, 0.5, n)


class Queue(Emergency):
    """The emergency department as an M/M/c queue before the doctors, given assessment=0, rest=0 and
    enough nurses and beds.
    """

    hours, classes, weights, admissions = np.ones(24), np.ones(1), np.ones(1), np.zeros(1)

    def service(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return rng.exponential(size=n)


def thinned(n: int, rate: float, hours: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The first n arrivals, in minutes from midnight, of a Poisson process with mean `rate` a
    minute that follows `hours`, 24
    factors of mean 1, by thinning (Lewis and Shedler 1979)."""
    times: list[np.ndarray] = []
    now = 0.0
    most = rate * hours.max()
    while sum(map(len, times)) < n:
        tried = now + rng.exponential(1 / most, n + 100).cumsum()
        hour = (tried // 60 % 24).astype(int)
        times.append(tried[rng.random(len(tried)) < rate * hours[hour] / most])
        now = tried[-1]
    return np.concatenate(times)[:n]


def _stamp(minutes: np.ndarray) -> pd.Series:
    """Minutes from START as timestamps on whole seconds."""
    return START + pd.to_timedelta(pd.Series(np.round(minutes * 60)), unit="s")


def erlang_c(arrivals: float, service: float, servers: int) -> tuple[float, float]:
    """P(wait > 0) and the mean wait of an M/M/c queue (Erlang 1917), in the unit of time of the two
    rates.

    arrivals and service (of one server) are rates; raises ValueError where arrivals reach what the
    servers can do.
    """
    load = arrivals / service
    if load >= servers:
        raise ValueError(
            f"{arrivals} arrivals against {servers} servers of rate {service}: the queue grows"
            " without end."
        )
    last = load**servers / math.factorial(servers) * servers / (servers - load)
    waits = last / (sum(load**k / math.factorial(k) for k in range(servers)) + last)
    return waits, waits / (servers * service - arrivals)
