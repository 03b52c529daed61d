"""Play the simulation; tests/simulation/run starts this where it can be played.

    run                              14 days, everything as it is shipped: a table by kind
    run --seed 7 --days 5 --scale 0.5   another population, shorter, of half the size
    run --explain                    and why each honest sender was listed, and each spammer that came was not
    run --population village         the second population
    run --scenario "no witness"     one of the scenarios of scenarios.py
    run --all --seeds 3              each of them with three populations, a line for each; also as build/simulation.json
    run --short                      what ./runtests plays, held against baseline.json; --accept writes that anew
"""
import argparse
import json
import sys
import time
from pathlib import Path

from simulation import database as database_part
from simulation import play as play_part
from simulation import population as population_part
from simulation import results
from simulation import scenarios, village
from testbed import base

BASELINE = Path(__file__).with_name("baseline.json")
SHORT = {"town": {"days": 1.25, "scale": 0.1}, "village": {"days": 2, "scale": 0.3}}
POPULATIONS = {"town": population_part.Population, "village": village.Village}
PROGRAMS = base.BUILD / "tests/simulation"


def played(scenario=play_part.Scenario(), seed=1, days=14, scale=1.0, population="town"):
    """A run on a database of its own."""
    database = database_part.Database(play_part.START - 3600)
    try:
        database.make_database(database_part.initialise)
        play = play_part.Play(database, PROGRAMS, base.STATE, scenario, seed, days, scale, population=POPULATIONS[population])
        play.run()
        return play
    finally:
        database.remove()


def short():
    """{"population: scenario": summary}"""
    return {f"{population}: {name}": results.summary(played(scenarios.ALL[name], population=population, **size).results())
            for population, size in SHORT.items() for name in scenarios.SHORT}


def compare(accept):
    now = short()
    if accept:
        BASELINE.write_text(json.dumps(now, indent=1) + "\n", encoding="ascii")
        return 0
    before = json.loads(BASELINE.read_text(encoding="ascii"))
    complaints = [f"{scenario}: {text}" for scenario in before for text in results.worse(now[scenario], before[scenario])]
    print(json.dumps(now, indent=1))
    print("\n".join(complaints or ["nothing is worse than in baseline.json"]))
    return 1 if complaints else 0


def overview(options):
    """All scenarios, each with several populations."""
    runs = {}
    for name, scenario in scenarios.ALL.items():
        runs[name] = [results.summary(played(scenario, seed, options.days, options.scale, options.population).results())
                      for seed in range(options.seed, options.seed + options.seeds)]
        print(results.overview({name: runs[name]}), flush=True)
    print("\n" + results.overview(runs))
    (base.TOP / "build/simulation.json").write_text(json.dumps(runs, indent=1) + "\n", encoding="ascii")
    return 0


def main():
    parser = argparse.ArgumentParser(prog="run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--days", type=float, default=14)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--scenario", default="witnesses at all primaries", choices=scenarios.ALL, metavar="NAME", help=", ".join(scenarios.ALL))
    parser.add_argument("--population", default="town", choices=POPULATIONS)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--explain", action="store_true")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--accept", action="store_true")
    options = parser.parse_args()
    base.check_inside()
    if options.short:
        return compare(options.accept)
    if options.all:
        return overview(options)
    began = time.monotonic()
    play = played(scenarios.ALL[options.scenario], options.seed, options.days, options.scale, options.population)
    print(results.table(play.results()))
    for kind, address, sentences in play.explained if options.explain else ():
        print(f"\n{address} ({kind})", *sentences, sep="\n    ")
    print("\nverdicts:", dict(play.sensor.verdicts), "seconds:", {key: round(value, 1) for key, value in play.spent.items()},
          f"in all {time.monotonic() - began:.0f}")
    return 0


sys.exit(main())
