"""The table of verbs, in the order in which help shows them."""

from mrkd.cli.verb import Verb
from mrkd.cli.verbs import attend, compare, completion, evaluate, export, methods, pretrain, report, settings, watch

VERBS: dict[str, Verb] = {
    verb.name: verb
    for verb in (
        pretrain.VERB,
        evaluate.VERB,
        attend.VERB,
        report.VERB,
        watch.VERB,
        compare.VERB,
        export.VERB,
        methods.VERB,
        settings.VERB,
        completion.VERB,
    )
}
