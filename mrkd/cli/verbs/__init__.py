"""The table of verbs, in the order in which help shows them."""

from mrkd.cli.verb import Verb
from mrkd.cli.verbs import (
    attend,
    compare,
    completion,
    data,
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
    sweep,
    watch,
)

VERBS: dict[str, Verb] = {
    verb.name: verb
    for verb in (
        data.VERB,
        pretrain.VERB,
        evaluate.VERB,
        attend.VERB,
        report.VERB,
        watch.VERB,
        compare.VERB,
        sweep.VERB,
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
