"""The equations of all methods in LaTeX, in the symbols of their papers, for docs/methods.md.

`plain` repeats the equation that `mrkd methods` prints. A test compares it with `mrkd.objective.methods`, so that a
method whose equation changes is also changed here.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Equation:
    """The loss of a method."""

    plain: str
    """The equation in `mrkd.objective.methods` that this one writes out."""
    latex: str
    where: str
    """What the symbols mean, beyond the notation of the page: Markdown, with `$` around symbols."""


_CLS = r"-P_{\theta'}^{\text{[CLS]}}(v)^\top\,\log\,P_\theta^{\text{[CLS]}}(\hat u)"
_PATCH = (
    r"-\frac{1}{\left|M\right|}\sum_{i\in M} P_{\theta'}^{\text{patch}}(u_i)^\top\,"
    r"\log\,P_\theta^{\text{patch}}(\hat u_i)"
)
_VIEWS = r"$u$ and $v$ are two views, and a hat marks the masked view of the student $\theta$"
_CLS_PROBS = (
    r"$P_\theta=\text{softmax}(s/\tau_s)$ and $P_{\theta'}=\text{Sinkhorn}(t/\tau_t)$ are probabilities of the "
    r"$K$ prototypes"
)
_PATCH_PROBS = (
    r"$M$ are the masked patches. The mean logits of their position are subtracted from the teacher's before Sinkhorn"
)
_GRAM_ROWS = r"Rows of $X$ are centred embeddings"
_CKA = (
    r"1-\frac{\left\langle K_S,K_T\right\rangle_F}{\left\lVert K_S\right\rVert_F\left\lVert K_T\right\rVert_F},"
    r"\qquad K=HXX^\top H,\qquad H=I-\frac1N\mathbf{1}\mathbf{1}^\top"
)

EQUATIONS: dict[str, Equation] = {
    "ibot": Equation(
        plain="CE(Sinkhorn(t / T_t), softmax(s / T_s)), class tokens view by view; + CE(Sinkhorn((t - m) / T_t), "
        "softmax(s / T_s)), masked patches, m the mean of their position",
        latex=f"{_CLS}\\;{_PATCH}",
        where=f"{_VIEWS}. {_CLS_PROBS}. {_PATCH_PROBS}.",
    ),
    "dino": Equation(
        plain="CE(Sinkhorn(t / T_t), softmax(s / T_s)), class tokens view by view",
        latex=r"-P_{\theta'}(v)^\top\,\log\,P_\theta(u),\qquad u\neq v",
        where=f"$u$ and $v$ are two views. {_CLS_PROBS}.",
    ),
    "dinov2": Equation(
        plain="ibot - 0.1 log |x_i - its nearest neighbour|, x unit vectors",
        latex=r"\mathcal{L}_{\text{iBOT}}-\frac{0.1}{N}\sum_i\log\,\min_{j\neq i}\left\lVert x_i-x_j\right\rVert",
        where=r"$x_i$ are the student's class tokens, scaled to unit length.",
    ),
    "mim": Equation(
        plain="CE(Sinkhorn((t - m) / T_t), softmax(s / T_s)), masked patches, m the mean of their position",
        latex=_PATCH,
        where=f"{_PATCH_PROBS}.",
    ),
    "simclr": Equation(
        plain="-log exp(cos(a_i, b_i) / T) / sum over the 2 N - 1 others exp(cos(a_i, .) / T)",
        latex=r"-\log\,\frac{\exp\left(\text{sim}(z_i,z_j)/\tau\right)}"
        r"{\sum_{k\neq i}\exp\left(\text{sim}(z_i,z_k)/\tau\right)}",
        where=r"$z_i$ and $z_j$ are two views of one image, $k$ runs over the other $2N-1$ views of the batch, and sim "
        r"is the cosine.",
    ),
    "vicreg": Equation(
        plain="5 |a - b|^2 / D + 25 max(0, 1 - std) + sum of squared off-diagonal covariances / D",
        latex=r"\frac{5}{ND}\sum_i\left\lVert z_i-z'_i\right\rVert^2+\frac{25}{2}\left[v(Z)+v(Z')\right]+c(Z)+c(Z')",
        where=r"$v(Z)=\frac1D\sum_d\max\left(0,1-\text{std}(z_{\cdot d})\right)$ and "
        r"$c(Z)=\frac1D\sum_{d\neq e}\text{Cov}(Z)_{de}^2$ for the embeddings $Z$ and $Z'$ of two views.",
    ),
    "byol": Equation(
        plain="|q(s) / |q(s)| - t / |t||^2, q an MLP",
        latex=r"\left\lVert\frac{q_\theta(z_\theta)}{\left\lVert q_\theta(z_\theta)\right\rVert}"
        r"-\frac{z'_\xi}{\left\lVert z'_\xi\right\rVert}\right\rVert^2",
        where=r"$z_\theta$ and $z'_\xi$ are projections by student and teacher; $q_\theta$ is the predictor, an MLP.",
    ),
    "barlow-twins": Equation(
        plain="sum_i (1 - c_ii)^2 + 0.0051 sum_i sum_j!=i c_ij^2, c the correlations of channels of a and b",
        latex=r"\sum_i\left(1-\mathcal{C}_{ii}\right)^2+\lambda\sum_i\sum_{j\neq i}\mathcal{C}_{ij}^2,"
        r"\qquad\lambda=0.0051",
        where=r"$\mathcal{C}_{ij}$ is the correlation of channel $i$ of one view with channel $j$ of the other.",
    ),
    "lejepa": Equation(
        plain="0.95 |x - mean of the views|^2 / D + 0.05 N int |phi(t) - exp(-t^2 / 2)|^2 exp(-t^2 / 2) dt",
        latex=r"\frac{1-\lambda}{D}\left\lVert z_{n,v}-\mu_n\right\rVert^2+\lambda N\int\left|\hat\varphi_a(t)-"
        r"e^{-t^2/2}\right|^2 e^{-t^2/2}\,dt,\qquad\lambda=0.05",
        where=r"$\mu_n$ is the mean of the global views of image $n$, and $\hat\varphi_a$ the empirical characteristic "
        r"function of the projections on a random direction $a$. Both parts are means over views; the second is also a "
        r"mean over directions.",
    ),
    "simdino": Equation(
        plain="|s - t|^2 / 2 - (N + D) / (N D) log det(1 + 2 D / N S^T S) / 2, unit vectors",
        latex=r"\frac12\left\lVert s_i-t_i\right\rVert^2-\frac{N+D}{ND}\cdot\frac12\log\,\det\left(I+\frac{2D}{N}"
        r"S^\top S\right)",
        where=r"All rows have unit length; $S$ is the matrix of the student's.",
    ),
    "rkd-d": Equation(
        plain="h(d_ij / mean d - d'_ij / mean d'), h Huber, mean d over pairs i != j",
        latex=r"\frac{1}{N^2}\sum_{i,j}\ell_\delta\left(\psi_D(t_i,t_j),\psi_D(s_i,s_j)\right),"
        r"\qquad\psi_D(x_i,x_j)=\frac1\mu\left\lVert x_i-x_j\right\rVert_2",
        where=r"$\ell_\delta$ is the Huber loss, and $\mu$ the mean distance over pairs $i\neq j$ of the same network.",
    ),
    "rkd-a": Equation(
        plain="h(cos(x_i - x_j, x_k - x_j) - the teacher's), h Huber, all triplets",
        latex=r"\frac{1}{N^3}\sum_{i,j,k}\ell_\delta\left(\psi_A(t_i,t_j,t_k),\psi_A(s_i,s_j,s_k)\right),"
        r"\qquad\psi_A(x_i,x_j,x_k)=\frac{\left\langle x_i-x_j,\,x_k-x_j\right\rangle}"
        r"{\left\lVert x_i-x_j\right\rVert\left\lVert x_k-x_j\right\rVert}",
        where=r"$\ell_\delta$ is the Huber loss, and $\psi_A$ the cosine of the angle at $x_j$.",
    ),
    "rkd-da": Equation(
        plain="rkd-d + 2 rkd-a",
        latex=r"\mathcal{L}_{\text{RKD-D}}+2\,\mathcal{L}_{\text{RKD-A}}",
        where="",
    ),
    "spkd": Equation(
        plain="(G_i / |G_i| - G'_i / |G'_i|)^2, G = X X^T, centred",
        latex=r"\frac{1}{N^2}\left\lVert G_S-G_T\right\rVert_F^2,\qquad G_{[i,:]}=\tilde Q_{[i,:]}/\left\lVert"
        r"\tilde Q_{[i,:]}\right\rVert_2,\qquad\tilde Q=XX^\top",
        where=f"{_GRAM_ROWS}.",
    ),
    "pkt": Equation(
        plain="p'_ij log(p'_ij / p_ij), mean over i and j, p_ij = (1 + cos_ij) / row sum, centred",
        latex=r"\frac{1}{N^2}\sum_{i,j}p_{j|i}\log\,\frac{p_{j|i}}{q_{j|i}},\qquad "
        r"p_{j|i}=\frac{1+\cos(t_i,t_j)}{\sum_k\left(1+\cos(t_i,t_k)\right)}",
        where=r"$q$ is the same of the student. Embeddings are centred.",
    ),
    "cckd": Equation(
        plain="(k_ij - k'_ij)^2, k = exp(-0.4 |x_i - x_j|^2), unit vectors, centred",
        latex=r"\frac{1}{N^2}\sum_{i,j}\left(k(s_i,s_j)-k(t_i,t_j)\right)^2,\qquad "
        r"k(x,y)=e^{-\gamma\left\lVert x-y\right\rVert^2},\qquad\gamma=0.4",
        where=r"Embeddings are centred, then scaled to unit length.",
    ),
    "relation-softmax": Equation(
        plain="CE(softmax(cos'_ij / T_t), softmax(cos_ij / T_s)), j != i, centred",
        latex=r"-\frac1N\sum_i\sum_{j\neq i}p^t_{ij}\log\,p^s_{ij},\qquad "
        r"p^s_{ij}=\frac{\exp\left(\cos(s_i,s_j)/\tau_s\right)}{\sum_{k\neq i}\exp\left(\cos(s_i,s_k)/\tau_s\right)}",
        where=r"$p^t$ is the same of the teacher, with $\tau_t$. Embeddings are centred.",
    ),
    "structural": Equation(
        plain="CE(Sinkhorn(cos(t_i, t_j) / T_t), softmax(cos(s_i, t_j) / T_s)), centred",
        latex=r"-\frac1N\sum_{i,j}q_{ij}\log\,p_{ij},\qquad "
        r"p_{ij}=\frac{\exp\left(\cos(s_i,t_j)/\tau_s\right)}{\sum_k\exp\left(\cos(s_i,t_k)/\tau_s\right)},\qquad "
        r"q=\text{Sinkhorn}\left(\cos(t_i,t_j)/\tau_t\right)",
        where="Embeddings are centred.",
    ),
    "cka": Equation(
        plain="1 - <K, K'> / (|K| |K'|), K = X X^T, centred",
        latex=_CKA,
        where=r"Rows of $X$ are embeddings of images.",
    ),
    "patch-cka": Equation(
        plain="1 - <K, K'> / (|K| |K'|), K = X X^T of one image's patches, centred",
        latex=_CKA,
        where=r"Rows of $X$ are the patches of one image.",
    ),
    "gram": Equation(
        plain="(cos_ij - cos'_ij)^2, centred",
        latex=r"\frac{1}{N^2}\left\lVert X_SX_S^\top-X_TX_T^\top\right\rVert_F^2",
        where=f"{_GRAM_ROWS} of unit length.",
    ),
    "darkrank": Equation(
        plain="-log of the Plackett-Luce likelihood of the teacher's 4 nearest, scores -3 (d / mean d)^3",
        latex=r"-\frac1N\sum_i\log\,\prod_{r=1}^{4}\frac{\exp S_{i\pi(r)}}{\sum_{r'=r}^{4}\exp S_{i\pi(r')}},"
        r"\qquad S_{ij}=-\alpha\left(d_{ij}/\mu\right)^\beta",
        where=r"$\pi(1),\dots,\pi(4)$ are the nearest neighbours of image $i$ in the teacher's order, $d_{ij}$ the "
        r"student's distances and $\mu$ their mean; $\alpha=\beta=3$.",
    ),
    "attention": Equation(
        plain="(a / |a| - a' / |a'|)^2, a the attention of one head",
        latex=r"\frac{1}{HN}\sum_{h=1}^{H}\left\lVert\frac{Q_S^h}{\left\lVert Q_S^h\right\rVert_2}"
        r"-\frac{Q_T^h}{\left\lVert Q_T^h\right\rVert_2}\right\rVert_2^2",
        where=r"$Q^h$ is the attention of head $h$ from the class token to the $N$ patches.",
    ),
    "fitnet": Equation(
        plain="|W s - standardised t|^2 / D",
        latex=r"\frac1D\left\lVert Ws_i-\tilde t_i\right\rVert^2",
        where=r"$W$ is the regressor; $\tilde t$ has mean 0 and standard deviation 1 in each channel.",
    ),
    "dist": Equation(
        plain="1 - pearson((W s)_i., t_i.) + 1 - pearson((W s)_.d, t_.d)",
        latex=r"\frac1N\sum_{i=1}^{N}\left[1-\rho_p\left((WS)_{i,:},T_{i,:}\right)\right]+\frac1D\sum_{d=1}^{D}"
        r"\left[1-\rho_p\left((WS)_{:,d},T_{:,d}\right)\right]",
        where=r"$\rho_p$ is Pearson's correlation, $W$ a linear map of the student.",
    ),
}
