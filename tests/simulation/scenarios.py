"""What is played beside "as shipped": fewer witnesses, witnesses with faults, and each defence switched off."""
from simulation.play import Scenario

ALL = {
    "witnesses at all primaries": Scenario(),
    "witnesses at half of them": Scenario(share=0.5),
    "no witness": Scenario(share=0),
    **{f"all witnesses: {fault}": Scenario(fault=fault) for fault in ("dead", "blind", "wrong key", "late", "clock", "gaps")},
    "hits do not ripen": Scenario(sql=("UPDATE hunnypot.policy SET ripens = '0', ripens_named = '0'",)),
    "inferred listings of named clients too": Scenario(share=0, sql=("UPDATE hunnypot.policy SET inferred_named = true",)),
    "one inferred hit is enough": Scenario(share=0, sql=("UPDATE hunnypot.policy SET min_hits = 1, min_days = 1",)),
    "inferred listings without pause": Scenario(share=0, sql=("UPDATE hunnypot.policy SET inferred_pause = '0'",)),
    "without redemption": Scenario(letters=False),
    "without owners": Scenario(owners=False),
    "without names": Scenario(names=False),
    "without grace after an outage": Scenario(liveness="outage_grace = 0s"),
}
SHORT = ("witnesses at all primaries", "no witness")
