"""Soak: `python -m bench.soak --kills 100 [--seed N]` kills daemon, spawner and supervisors while a cluster works."""

from __future__ import annotations

import argparse
import sys
import time

from tests.real.platform_rig import platform
from tests.real.storm import Storm, images, victims


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    wish = parser.parse_args()
    started = time.monotonic()
    with platform("10.23.0.1") as cluster:
        images(cluster)
        storm = Storm(cluster, wish.seed)
        storm.begin()
        for number, victim in enumerate(victims(wish.kills, wish.seed), 1):
            before = len(storm.report.faults)
            storm.strike(victim)
            if len(storm.report.faults) > before:
                print(f"{number}: {storm.report.faults[-1]}", flush=True)
        report = storm.end()
        if report.faults:
            print(cluster.log()[-20000:], file=sys.stderr)
    print(f"seed {wish.seed}, {time.monotonic() - started:.0f} s: {report}; nothing left on the host")
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
