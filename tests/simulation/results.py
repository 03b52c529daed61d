"""What a run came to: the table by kind, the sums by group, and whether that is worse than it was."""
import collections
import statistics

SLACK_HOURS = 0.5  # of a median, before it counts as worse
PEOPLE = ("honest", "limit", "excluded")  # who should not be listed; of all other groups who is listed is a success


def hours(delays):
    return round(statistics.median(delays), 1) if delays else None


def by_group(rows):
    """{group: numbers} of {"group / kind": numbers}."""
    groups = {}
    for name, row in rows.items():
        total = groups.setdefault(name.split(" / ")[0], collections.Counter())
        for column, value in row.items():
            if column == "delays":
                total.setdefault("delays", [])
                total["delays"] = total["delays"] + value
            else:
                total[column] += value
    return groups


def summary(rows):
    """{group: {"senders", "listed", "firm", "hours", "lost"}}: what the baseline keeps."""
    return {group: {"senders": row["senders"], "listed": row["listed"], "firm": row["firm"], "hours": hours(row["delays"]),
                    "lost": row["lost_to_list"]}
            for group, row in sorted(by_group(rows).items())}


def worse(now, before):
    """A sentence for each number of NOW that is worse than BEFORE; both are summaries."""
    found = []
    for group, was in before.items():
        numbers = now.get(group)
        if numbers is None or numbers["senders"] != was["senders"]:
            found.append(f"{group}: {numbers and numbers['senders']} senders, not {was['senders']}: another population")
        elif group in PEOPLE:
            found += [f"{group}: {what} {numbers[what]}, before {was[what]}" for what in ("listed", "firm", "lost") if numbers[what] > was[what]]
        else:
            if numbers["listed"] < was["listed"]:
                found.append(f"{group}: {numbers['listed']} of {was['senders']} listed, before {was['listed']}")
            if was["hours"] is not None and (numbers["hours"] is None or numbers["hours"] > was["hours"] + SLACK_HOURS):
                found.append(f"{group}: listed after {numbers['hours']} h (median), before {was['hours']} h")
    return found


HEAD = f"{'group / kind':62} {'n':>4} {'letters':>7} {'sent':>6} {'lost':>5} {'hits':>6} {'recd':>6} {'listed':>6} {'firm':>5} {'hours':>6} {'days':>6}"


def line(name, row):
    median = hours(row["delays"])
    return (f"{name:62} {row['senders']:4} {row['letters']:7} {row['delivered']:6} {row['lost_to_list']:5} {row['hits']:6} {row['recorded']:6} "
            f"{row['listed']:6} {row['firm']:5} {'-' if median is None else median:>6} {row['days']:6.1f}")


def table(rows):
    """"listed": senders that were, however; "firm": those of them that were refused for good at some time, and not put off; "lost":
    letters that the list cost: refused, or returned after a try that it turned away."""
    return "\n".join([HEAD, *(line(name, row) for name, row in sorted(rows.items(), key=lambda item: item[0].split(" / ")[0])), "",
                      *(line(f"ALL {group}", row) for group, row in sorted(by_group(rows).items()))])


def spread(values):
    """"12" or "10-14"."""
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g}-{high:g}"


def overview(runs):
    """A line for each scenario of {scenario: [summary of a seed, ...]}: honest senders listed, refused for good, and letters lost, then of each
    group of spammers how many of a hundred were listed, and after how many hours; over several seeds from the least to the most."""
    groups = [group for group in next(iter(runs.values()))[0] if group not in PEOPLE]
    lines = [f"{'scenario':34} {'honest':>9} {'firm':>7} {'lost':>9} {'limit':>7} {'excl.':>7} " + " ".join(f"{group[:16]:>18}" for group in groups)]
    for scenario, summaries in runs.items():
        cells = [spread([summary["honest"]["listed"] for summary in summaries]), spread([summary["honest"]["firm"] for summary in summaries]),
                 spread([summary["honest"]["lost"] for summary in summaries]), spread([summary["limit"]["listed"] for summary in summaries]),
                 spread([summary["excluded"]["listed"] for summary in summaries])]
        parts = []
        for group in groups:
            shares = [round(100 * summary[group]["listed"] / summary[group]["senders"]) for summary in summaries]
            delays = [summary[group]["hours"] for summary in summaries if summary[group]["hours"] is not None]
            parts.append(f"{spread(shares)}% {spread(delays) + ' h' if delays else '-'}")
        lines.append(f"{scenario:34} {cells[0]:>9} {cells[1]:>7} {cells[2]:>9} {cells[3]:>7} {cells[4]:>7} " + " ".join(f"{part:>18}" for part in parts))
    return "\n".join(lines)
