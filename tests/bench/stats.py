"""Interleaved pairs: A and B take turns, and what counts is the median of the ratios of the pairs, with its 95% interval."""
import math
import statistics


def interval(values):
    """The 95% interval of the median, from the order of the values (binomial); None with fewer than six."""
    ordered, n = sorted(values), len(values)
    if n < 6:
        return None
    tail, k = 0.5 ** n, 0
    while tail + math.comb(n, k + 1) * 0.5 ** n <= 0.025:
        k += 1
        tail += math.comb(n, k) * 0.5 ** n
    return ordered[k], ordered[n - 1 - k]


class Ratio:
    """B to A over pairs of (a, b); TARGET: at most (or at_least) that much."""

    def __init__(self, name, pairs, at_most=None, at_least=None, unit=""):
        self.name, self.pairs, self.at_most, self.at_least, self.unit = name, pairs, at_most, at_least, unit
        self.ratios = [b / a if a else math.inf for a, b in pairs]  # of too short a run no CPU is counted
        self.median = statistics.median(self.ratios)
        self.interval = interval(self.ratios)

    def verdict(self):
        """"no verdict" when the noise covers the target."""
        target = self.at_most if self.at_most is not None else self.at_least
        if target is None:
            return ""
        if self.interval is None:
            return "no verdict"
        low, high = self.interval
        below, above = high <= target, low >= target
        if self.at_most is not None:
            return "pass" if below else "FAIL" if low > target else "no verdict"
        return "pass" if above else "FAIL" if high < target else "no verdict"

    def as_json(self):
        return {"name": self.name, "ratio": self.median, "interval": self.interval, "pairs": self.pairs, "at_most": self.at_most,
                "at_least": self.at_least, "verdict": self.verdict(), "unit": self.unit}

    def line(self):
        a, b = (statistics.median(side) for side in zip(*self.pairs))
        between = "(too few pairs)" if self.interval is None else f"{self.interval[0]:.3f}..{self.interval[1]:.3f}"
        target = f"<= {self.at_most}" if self.at_most is not None else f">= {self.at_least}" if self.at_least is not None else ""
        return f"{self.name:66} {a:12.4g} {b:12.4g} {self.median:7.3f} {between:>16} {target:>8} {self.verdict()}"


class Figure:
    """One thing measured by itself, several times: VALUES, of which the median counts, and what it may be at most, or at least."""

    def __init__(self, name, values, at_most=None, at_least=None, unit=""):
        self.name, self.values, self.at_most, self.at_least, self.unit = name, values, at_most, at_least, unit
        self.median = statistics.median(values)

    def verdict(self):
        if self.at_most is None and self.at_least is None:
            return ""
        reached = self.median <= self.at_most if self.at_most is not None else self.median >= self.at_least
        return "pass" if reached else "FAIL"

    def as_json(self):
        return {"name": self.name, "values": self.values, "median": self.median, "at_most": self.at_most, "at_least": self.at_least,
                "verdict": self.verdict(), "unit": self.unit}

    def line(self):
        target = f"<= {self.at_most}" if self.at_most is not None else f">= {self.at_least}" if self.at_least is not None else ""
        name, between = f"{self.name} ({self.unit})", f"{min(self.values):.4g}..{max(self.values):.4g}"
        return f"{name:66} {'':12} {self.median:12.4g} {'':7} {between:>16} {target:>8} {self.verdict()}"


HEAD = f"{'measure (B / A)':66} {'A':>12} {'B':>12} {'ratio':>7} {'95% of median':>16} {'target':>8}"
