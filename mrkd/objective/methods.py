"""The table of methods: a method is a weighted sum of loss terms. A new method is one entry here."""

from dataclasses import dataclass
from typing import Any

from mrkd.config import Term


@dataclass(frozen=True, kw_only=True)
class Method:
    """The terms of a method, and its description. N rows, D width, K prototypes."""

    terms: tuple[Term, ...]
    summary: str
    """One sentence."""
    equation: str
    """Equation of one term, in plain text."""
    invariant_to: str
    """Transformations of the embeddings that leave the loss unchanged."""
    collapses_to: str
    """Degenerate solutions: embeddings with a low loss that say nothing about the images."""
    cost: str
    """Cost of computing the loss, as a function of rows and width."""
    source: str


def on_class_tokens_and_patches(
    loss: str, *, anchors: Any = "own", weight: float = 1.0, **options: Any
) -> tuple[Term, ...]:
    """Two terms: class tokens across the batch, and patches at the same position across the batch."""
    return tuple(
        Term(loss=loss, tokens=tokens, anchors=anchors, weight=weight, options=options)
        for tokens in ("cls", "patch-position")
    )


_IBOT_CLS = Term(loss="ibot-cls", tokens="cls", space="logits")
_IBOT_PATCH = Term(loss="ibot-patch", tokens="patch-position", space="logits")
_RKD = "Park et al., Relational Knowledge Distillation, CVPR 2019 (arXiv:1904.05068)"
_POINT = "a point (the loss is then 0), few directions"
_MOTION = "rotation, translation, scale of either side"

METHODS: dict[str, Method] = {
    "random": Method(
        terms=(),
        summary="no training: random weights, the floor of every comparison",
        equation="-",
        invariant_to="-",
        collapses_to="-",
        cost="-",
        source="-",
    ),
    "ibot": Method(
        terms=(_IBOT_CLS, _IBOT_PATCH),
        summary="cross-entropy of class tokens across views and of masked patches, output by output",
        equation="CE(Sinkhorn(t / T_t), softmax(s / T_s)), class tokens view by view; + CE(Sinkhorn((t - m) / T_t), "
        "softmax(s / T_s)), masked patches, m the mean of their position",
        invariant_to="-",
        collapses_to="uniform outputs (loss ln K), constant outputs, codes for positions",
        cost="N K",
        source="Zhou et al., iBOT, ICLR 2022 (arXiv:2111.07832)",
    ),
    "dino": Method(
        terms=(_IBOT_CLS,),
        summary="iBOT's cross-entropy of class tokens alone",
        equation="CE(Sinkhorn(t / T_t), softmax(s / T_s)), class tokens view by view",
        invariant_to="-",
        collapses_to="uniform outputs (loss ln K), constant outputs",
        cost="N K",
        source="Caron et al., DINO, ICCV 2021 (arXiv:2104.14294)",
    ),
    "dinov2": Method(
        terms=(_IBOT_CLS, _IBOT_PATCH, Term(loss="koleo", weight=0.1)),
        summary="iBOT's two cross-entropies and KoLeo on the class tokens; with one head, where DINOv2 has two",
        equation="ibot - 0.1 log |x_i - its nearest neighbour|, x unit vectors",
        invariant_to="-",
        collapses_to="codes for positions",
        cost="N K + N^2 D",
        source="Oquab et al., DINOv2, TMLR 2024 (arXiv:2304.07193), section 4",
    ),
    "mim": Method(
        terms=(_IBOT_PATCH,),
        summary="iBOT's cross-entropy of masked patches alone: BEiT's task with the teacher as tokenizer",
        equation="CE(Sinkhorn((t - m) / T_t), softmax(s / T_s)), masked patches, m the mean of their position",
        invariant_to="-",
        collapses_to="codes for positions; the class token learns nothing",
        cost="N K",
        source="Bao et al., BEiT, ICLR 2022 (arXiv:2106.08254); the tokenizer of Zhou et al. 2022",
    ),
    "simclr": Method(
        terms=(Term(loss="simclr", space="bottleneck"),),
        summary="find the other view of an image among all images of the batch",
        equation="-log exp(cos(a_i, b_i) / T) / sum over the 2 N - 1 others exp(cos(a_i, .) / T)",
        invariant_to="rotation of both views together",
        collapses_to="features that suffice to tell images apart, such as colour",
        cost="N^2 D",
        source="Chen et al., SimCLR, ICML 2020 (arXiv:2002.05709)",
    ),
    "vicreg": Method(
        # The authors' invariance weight of 25 is for 8,192 channels. With 64 channels it led to nine directions and
        # 72 % k-NN on the validation holdout of digits; 5 gives 94 % (seed 0).
        terms=(Term(loss="vicreg", space="projection", options={"invariance": 5.0}),),
        summary="equal embeddings of both views, channels that vary and do not repeat each other",
        equation="5 |a - b|^2 / D + 25 max(0, 1 - std) + sum of squared off-diagonal covariances / D",
        invariant_to="translation of both views together",
        collapses_to="low rank when the hinge is met by few directions",
        cost="N D^2",
        source="Bardes et al., VICReg, ICLR 2022 (arXiv:2105.04906)",
    ),
    "byol": Method(
        terms=(Term(loss="byol", space="projection"),),
        summary="the teacher's projection of another view, predicted by an MLP on the student's",
        equation="|q(s) / |q(s)| - t / |t||^2, q an MLP",
        invariant_to="length of each vector",
        collapses_to="a point, if the predictor or the slow teacher does not prevent it",
        cost="N D H, H the hidden width",
        source="Grill et al., BYOL, NeurIPS 2020 (arXiv:2006.07733), eq. 2",
    ),
    "barlow-twins": Method(
        terms=(Term(loss="barlow-twins", space="projection"),),
        summary="channels that agree between both views and do not repeat each other",
        equation="sum_i (1 - c_ii)^2 + 0.0051 sum_i sum_j!=i c_ij^2, c the correlations of channels of a and b",
        invariant_to="translation and scale of each channel",
        collapses_to="low rank when the batch is smaller than the width",
        cost="N D^2",
        source="Zbontar et al., Barlow Twins, ICML 2021 (arXiv:2103.03230), eq. 1-2",
    ),
    "lejepa": Method(
        terms=(Term(loss="lejepa", space="projection"),),
        summary="equal embeddings of all views, distributed over the images as a standard Gaussian; no teacher",
        equation="0.95 |x - mean of the views|^2 / D + 0.05 N int |phi(t) - exp(-t^2 / 2)|^2 exp(-t^2 / 2) dt",
        invariant_to="rotation of all views together, up to the random directions",
        collapses_to="few directions when lambda is small",
        cost="256 N (D + 17)",
        source="Balestriero and LeCun, LeJEPA, 2025 (arXiv:2511.08544)",
    ),
    "simdino": Method(
        terms=(Term(loss="simdino", space="bottleneck"),),
        summary="unit vectors near the teacher's of another view, with a high coding rate; no prototypes",
        equation="|s - t|^2 / 2 - (N + D) / (N D) log det(1 + 2 D / N S^T S) / 2, unit vectors",
        invariant_to="rotation of both sides together, length of each vector",
        collapses_to="low rank when the weight of the rate is small",
        cost="N D^2 + D^3",
        source="Wu et al., SimDINO, 2025 (arXiv:2502.10385)",
    ),
    "rkd-d": Method(
        terms=on_class_tokens_and_patches("rkd-distance"),
        summary="pairwise distances between images, and between patches at one position across images",
        equation="h(d_ij / mean d - d'_ij / mean d'), h Huber, mean d over pairs i != j",
        invariant_to=_MOTION,
        collapses_to=_POINT,
        cost="N^2 D",
        source=_RKD + ", eq. 5-8",
    ),
    "rkd-a": Method(
        terms=on_class_tokens_and_patches("rkd-angle"),
        summary="angles in triplets of images, and of patches at one position across images",
        equation="h(cos(x_i - x_j, x_k - x_j) - the teacher's), h Huber, all triplets",
        invariant_to=_MOTION,
        collapses_to=_POINT,
        cost="N^2 D + N^3",
        source=_RKD + ", eq. 8-10",
    ),
    "rkd-da": Method(
        terms=(*on_class_tokens_and_patches("rkd-distance"), *on_class_tokens_and_patches("rkd-angle", weight=2.0)),
        summary="distances and angles, weighed 1 to 2 as in the authors' experiments",
        equation="rkd-d + 2 rkd-a",
        invariant_to=_MOTION,
        collapses_to=_POINT,
        cost="N^2 D + N^3",
        source=_RKD,
    ),
    "spkd": Method(
        terms=on_class_tokens_and_patches("spkd", center=True),
        summary="rows of dot products, each row of unit length",
        equation="(G_i / |G_i| - G'_i / |G'_i|)^2, G = X X^T, centred",
        invariant_to="rotation, translation, scale of either side",
        collapses_to="low rank",
        cost="N^2 D",
        source="Tung and Mori, ICCV 2019 (arXiv:1907.09682)",
    ),
    "pkt": Method(
        terms=on_class_tokens_and_patches("pkt", center=True),
        summary="cosines read as probabilities, row by row",
        equation="p'_ij log(p'_ij / p_ij), mean over i and j, p_ij = (1 + cos_ij) / row sum, centred",
        invariant_to="rotation, translation of either side, length of each vector",
        collapses_to="uniform rows",
        cost="N^2 D",
        source="Passalis and Tefas, ECCV 2018 (arXiv:1803.10837)",
    ),
    "cckd": Method(
        terms=on_class_tokens_and_patches("cckd", center=True),
        summary="RBF kernels of unit vectors",
        equation="(k_ij - k'_ij)^2, k = exp(-0.4 |x_i - x_j|^2), unit vectors, centred",
        invariant_to="rotation, translation of either side, length of each vector",
        collapses_to="low rank",
        cost="N^2 D",
        source="Peng et al., ICCV 2019 (arXiv:1904.01802)",
    ),
    "relation-softmax": Method(
        terms=on_class_tokens_and_patches("relation-softmax", center=True),
        summary="softmax rows of cosines to the other images of the batch; not ReSSL, which has a queue, a weak "
        "view for the teacher and a predictor",
        equation="CE(softmax(cos'_ij / T_t), softmax(cos_ij / T_s)), j != i, centred",
        invariant_to="rotation of either side, length of each vector",
        collapses_to="uniform rows (loss ln(N - 1))",
        cost="N^2 D",
        source="the relation of Zheng et al., ReSSL, NeurIPS 2021 (arXiv:2107.09282), eq. 1-3, within the batch",
    ),
    "structural": Method(
        terms=on_class_tokens_and_patches("structural", anchors="teacher"),
        summary="iBOT's cross-entropy between softmax rows of similarities to the teacher's batch",
        equation="CE(Sinkhorn(cos(t_i, t_j) / T_t), softmax(cos(s_i, t_j) / T_s)), centred",
        invariant_to="rotation of both sides together, length of each vector",
        collapses_to="uniform rows (loss ln N)",
        cost="N^2 D",
        source="cross-entropy of Zhou et al. 2022 on similarity rows as in Zheng et al., ReSSL, NeurIPS 2021",
    ),
    "cka": Method(
        terms=on_class_tokens_and_patches("cka"),
        summary="alignment of the centred Gram matrices",
        equation="1 - <K, K'> / (|K| |K'|), K = X X^T, centred",
        invariant_to=_MOTION,
        collapses_to="one direction that both agree on",
        cost="N^2 D",
        source="Kornblith et al., ICML 2019 (arXiv:1905.00414)",
    ),
    "patch-cka": Method(
        terms=(Term(loss="cka", tokens="patch-image"),),
        summary="alignment of the Gram matrices of an image's patches, masked view against full",
        equation="1 - <K, K'> / (|K| |K'|), K = X X^T of one image's patches, centred",
        invariant_to=_MOTION,
        collapses_to="codes for positions; the class token learns nothing",
        cost="N^2 D",
        source="the loss of PaKA (arXiv:2509.05606), which aligns two crops by position; here one crop, masked",
    ),
    "gram": Method(
        terms=(
            Term(loss="gram", tokens="cls", options={"center": True}),
            Term(loss="gram", tokens="patch-image", options={"center": True}),
        ),
        summary="cosines between images, and between the patches of an image",
        equation="(cos_ij - cos'_ij)^2, centred",
        invariant_to="rotation, translation of either side, length of each vector",
        collapses_to="low rank; codes for positions within an image",
        cost="N^2 D",
        source="Simeoni et al., DINOv3, 2025 (arXiv:2508.10104)",
    ),
    "darkrank": Method(
        terms=on_class_tokens_and_patches("dark-rank", scale_by_mean=True),
        summary="the order of each image's nearest neighbours",
        equation="-log of the Plackett-Luce likelihood of the teacher's 4 nearest, scores -3 (d / mean d)^3",
        invariant_to="rotation, translation, scale of the student; any monotone change of the teacher's distances",
        collapses_to="equal distances (loss ln 4!)",
        cost="N^2 D",
        source="Chen et al., DarkRank, AAAI 2018 (arXiv:1707.01220), hard form of Park et al.'s code",
    ),
    "attention": Method(
        terms=(Term(loss="attention"),),
        summary="attention of the class token over the patches, head by head, masked view against full",
        equation="(a / |a| - a' / |a'|)^2, a the attention of one head",
        invariant_to="everything but the last block's queries and keys",
        collapses_to="attention that does not depend on the image",
        cost="H N",
        source="Zagoruyko and Komodakis, ICLR 2017 (arXiv:1612.03928)",
    ),
    "fitnet": Method(
        terms=(
            Term(loss="hint", tokens="cls", options={"standardize": True}),
            Term(loss="hint", tokens="patch-position", options={"standardize": True}),
        ),
        summary="features themselves: class tokens across views and masked patches, through a linear regressor",
        equation="|W s - standardised t|^2 / D",
        invariant_to="-",
        collapses_to="few directions; codes for positions in the patches",
        cost="N D^2",
        source="Romero et al., FitNets, ICLR 2015 (arXiv:1412.6550)",
    ),
    "dist": Method(
        terms=on_class_tokens_and_patches("dist"),
        summary="correlation of features with the teacher's by token and by channel, through a linear map",
        equation="1 - pearson((W s)_i., t_i.) + 1 - pearson((W s)_.d, t_.d)",
        invariant_to="shift and scale of a row and of a channel of either side",
        collapses_to="few directions; codes for positions in the patches",
        cost="N D^2",
        source="Huang et al., Knowledge Distillation from A Stronger Teacher, NeurIPS 2022 (arXiv:2205.10536)",
    ),
}
