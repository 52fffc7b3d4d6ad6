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
from dataclasses import dataclass
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
        with_nurse = rng.exponential(assessment, total)
        with_doctor = self.service(total, rng) * treatment * self.weights[triage]
        slower = np.where(triage < 2, 1.4, np.where(triage > 2, 0.4, 1.0))
        in_bed = rng.exponential(rest, total) * slower
        # The gravest cases are too ill to leave.
        leaves = np.where(triage < 2, np.inf, rng.exponential(patience, total))
        admitted = rng.random(total) < np.clip(self.admissions[triage] * (1 + (age > 65)), 0, 0.95)
        in_bed = in_bed + rng.exponential(120, total) * admitted
        patients = _Patients(arrival, triage, leaves, with_nurse, with_doctor, in_bed)
        department = _Department(patients, nurses, beds, doctors)
        department.run()

        nurse_at, doctor_at = department.nurse_at, department.doctor_at
        departed = department.departed
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


@dataclass(frozen=True)
class _Patients:
    """What belongs to each patient, whoever waits for whom: shape (patients,) each, in minutes.

    leaves      how long they wait before they leave unseen, infinite for who never does
    in_bed      after the doctor: tests, results, and the wait for a ward
    """

    arrival: np.ndarray
    triage: np.ndarray
    leaves: np.ndarray
    with_nurse: np.ndarray
    with_doctor: np.ndarray
    in_bed: np.ndarray


class _Department:
    """Nurses, beds and doctors, and when each patient met them; NaN for who left before."""

    def __init__(self, patients: _Patients, nurses: float, beds: float, doctors: float):
        import simpy

        self._patients = patients
        self._env = simpy.Environment()
        # By triage, not by arrival; among equals who came first.
        self._nurses, self._beds, self._doctors = (
            simpy.PriorityResource(self._env, max(int(count), 1))
            for count in (nurses, beds, doctors)
        )
        total = len(patients.arrival)
        self.nurse_at, self.doctor_at, self.departed = (np.full(total, np.nan) for _ in range(3))

    def run(self) -> None:
        """Until everybody has left."""
        self._env.process(self._door())
        self._env.run()

    def _door(self):
        """Patients begin their visit at their arrival."""
        for i, arrival in enumerate(self._patients.arrival):
            yield self._env.timeout(arrival - self._env.now)
            self._env.process(self._visit(i))

    def _turn(self, request, i: int):
        """What patient i waits for: their turn, or the end of their patience."""
        patients = self._patients
        if patients.leaves[i] == np.inf:
            return request
        gone = patients.arrival[i] + patients.leaves[i]
        return request | self._env.timeout(max(gone - self._env.now, 0))

    def _visit(self, i: int):
        """A process of simpy: each yield waits for a person, a bed or time. Whoever waits beside a
        timeout leaves when that comes first.
        """
        patients, env, priority = self._patients, self._env, self._patients.triage[i]
        with self._nurses.request(priority=priority) as nurse:
            yield self._turn(nurse, i)
            if not nurse.triggered:
                self.departed[i] = env.now
                return
            self.nurse_at[i] = env.now
            yield env.timeout(patients.with_nurse[i])
        with self._beds.request(priority=priority) as bed:
            yield self._turn(bed, i)
            if bed.triggered:
                with self._doctors.request(priority=priority) as doctor:
                    yield self._turn(doctor, i)
                    if doctor.triggered:
                        self.doctor_at[i] = env.now
                        yield env.timeout(patients.with_doctor[i])
                # The doctor goes on to the next one; the bed is held.
                if not np.isnan(self.doctor_at[i]):
                    yield env.timeout(patients.in_bed[i])
        self.departed[i] = env.now


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
