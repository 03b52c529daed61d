"""The leader of a cluster (Patroni, etcd) is killed under load, KILLS times with a synchronous and KILLS times with asynchronous
standbys.  Of the asynchronous ones each leader is cut off from them first, so that what it confirmed last is gone with it."""
import argparse
import subprocess

from failover.cluster import CONNINFO, Cluster
from testbed import dns as dns_part
from testbed import milter as milter_part
from testbed.base import BUILD, wait_for
from testbed.load import Load


def play(synchronous, kills):
    cluster = Cluster(synchronous)
    cluster.query("CREATE DATABASE hunnypot", database="postgres")
    subprocess.run([BUILD / "hunnypot", "db", "init"], check=True, stdout=subprocess.DEVNULL,
                   env=milter_part.environment(HUNNYPOT_DATABASE=f"{CONNINFO} user=postgres dbname=hunnypot"))
    cluster.query("CREATE ROLE sensor LOGIN IN ROLE hunnypot_sensor")
    daemon = milter_part.Milter({"database": f"{CONNINFO} user=sensor dbname=hunnypot", "log_level": "info",
                                 "limits": {"connections": 0, "connections_per_client": 0}}, "failover")
    daemon.start()
    load = Load(daemon)
    load.start(threads=1)
    forgotten = 0
    for number in range(kills):
        load.more(100)
        leader = cluster.leader()
        known = set()
        if not synchronous:
            leader.cut_off()
            before = leader.recorded()
            wait_for(lambda: len(leader.recorded() - before) >= 50, 30, "hits that no standby knows")
            known = leader.recorded()
        leader.kill()
        wait_for(lambda: cluster.leader() not in (None, leader), 120, "another leader", interval=0.5)
        now = cluster.leader()
        gone = known - now.recorded()
        forgotten += len(gone)
        leader.start()
        cluster.wait_whole()
        print(f"kill {number + 1}: {leader.name} -> {now.name}, {len(gone)} hits not with the new leader at first, "
              f"{len(load.answered)} answered so far", flush=True)
    try:
        load.check(cluster, timeout=180)
        print(f"{'synchronous' if synchronous else 'asynchronous'}: {kills} leaders killed, {len(load.answered)} hits answered, "
              f"of {forgotten} only the dead leader knew, 0 lost, 0 doubled", flush=True)
    finally:
        load.stop()
        daemon.stop()
        daemon.remove()
        cluster.stop()


def main():
    parser = argparse.ArgumentParser(prog="run", description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="of each kind (20)")
    parser.add_argument("--only", choices=["synchronous", "asynchronous"])
    options = parser.parse_args()
    dns = dns_part.Dns()
    dns.start()
    for kind in ("asynchronous", "synchronous"):
        if options.only in (None, kind):
            play(kind == "synchronous", options.kills)
    dns.stop()


if __name__ == "__main__":
    main()
