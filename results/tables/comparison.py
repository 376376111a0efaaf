"""Tables from run records. Rows that cannot be compared are refused."""

from collections.abc import Mapping, Sequence

from configs.errors import UserError
from results.document import Row
from results.evidence.settings import (
    PLACES,
    differing_settings,
    label,
    same,
    same_data,
    settings_of,
    shown_value,
    usual_settings,
)
from results.evidence.stored import final_over_text
from training.run_record.record import RunRecord

OVER_TEXT = (
    "± of a run: 95 % interval over text, from contiguous blocks of the validation bytes, where the record has any; it "
    "says nothing of other seeds."
)
MOST_COLUMNS = 3  # settings that have a column each; more share one, which says what is unusual about a run


def comparison(records: Sequence[RunRecord]) -> list[Row]:
    """One row for each finished run: loss, size, speed and time, best first.

    Settings in which runs of one model differ have a column each. Where these are many, each row names those of its own
    that are not the usual ones among the runs of its model (`usual_settings`).

    The loss is the final validation, ± its 95 % interval over text where the record has one. UserError for a run that
    is not done, or whose data, context, tokenizer or number of validated bytes differs from the others'.
    """
    same_data(records)
    for record in records:
        if record.final is None:
            raise UserError(f"the run of {record.config['model']['name']} is not done: its status is {record.status}")
    same("final validation bytes", [record.final["bytes"] for record in records if record.final])
    settings, usual = differing_settings(records, PLACES), usual_settings(records)
    return [
        {
            "model": label(record, records),
            **_settings_columns(record, settings, usual),
            "bits per byte": final_over_text(record).shown(),
            "tokens": f"{final['tokens']:,}",
            "parameters": f"{record.parameters['total']:,}",
            "MFLOPs/token": f"{record.flops_per_token / 1e6:.2f}",
            "tokens/s": f"{record.throughput.tokens_per_second:,.0f}",
            "seconds": f"{record.throughput.seconds:,.0f}",
        }
        for record, final in sorted(
            ((record, record.final) for record in records if record.final), key=lambda pair: pair[1]["bits_per_byte"]
        )
    ]


def _settings_columns(record: RunRecord, settings: Sequence[str], usual: Mapping[str, Mapping[str, str]]) -> Row:
    ours = settings_of(record.config)
    if len(settings) <= MOST_COLUMNS:
        return {key: shown_value(ours[key]) if key in ours else "" for key in settings}
    shown = {
        key: (shown_value(ours.get(key)), value) for key, value in usual[str(record.config["model"]["name"])].items()
    }
    return {"settings": " ".join(f"{key}={value}" for key, (value, commonest) in shown.items() if value != commonest)}
