"""What is played beside "as shipped": fewer witnesses, witnesses with faults, and each defence switched off."""
from simulation.play import Scenario

ALL = {
    "witnesses at all primaries": Scenario(),
    "witnesses at half of them": Scenario(share=0.5),
    "no witness": Scenario(share=0),
    **{f"all witnesses: {fault}": Scenario(fault=fault) for fault in ("dead", "blind", "wrong key", "late", "clock", "gaps")},
    "without redemption": Scenario(letters=False),
    "without owners": Scenario(owners=False),
    "without names": Scenario(names=False),
    "without grace after an outage": Scenario(liveness="outage_grace = 0s"),
}
SHORT = ("witnesses at all primaries",)
