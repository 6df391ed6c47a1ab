"""The table of verbs, in the order in which help shows them."""

from mrkd.cli.verb import Verb
from mrkd.cli.verbs import (
    attend,
    compare,
    completion,
    doctor,
    embed,
    evaluate,
    export,
    finetune,
    methods,
    pretrain,
    report,
    runs,
    settings,
)

VERBS: dict[str, Verb] = {
    verb.name: verb
    for verb in (
        pretrain.VERB,
        evaluate.VERB,
        attend.VERB,
        report.VERB,
        compare.VERB,
        embed.VERB,
        export.VERB,
        finetune.VERB,
        runs.VERB,
        methods.VERB,
        settings.VERB,
        doctor.VERB,
        completion.VERB,
    )
}
