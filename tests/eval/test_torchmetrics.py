"""What the evaluators compute per image adds up to what torchmetrics computes over the set."""

# Q queries, N images of the database, C classes

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional import classification, clustering, retrieval

from sslkit.eval.bootstrap import estimate, mean_estimate
from sslkit.eval.confusion import Classified
from sslkit.eval.copies import micro_average_precision
from sslkit.eval.knn import knn_votes
from sslkit.eval.prototypes import agreement
from sslkit.eval.retrieval import average_precision

C = 6


@pytest.fixture
def labels() -> Tensor:
    return torch.randint(C, (80,), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def predicted(labels: Tensor) -> Tensor:
    """Right in about two of three."""
    drawn = torch.Generator().manual_seed(1)
    others = torch.randint(C, labels.shape, generator=drawn)
    return torch.where(torch.rand(labels.shape, generator=drawn) < 0.6, labels, others)


@pytest.mark.parametrize("top", [1, 5])
def test_accuracy_of_neighbours(top: int, labels: Tensor) -> None:
    features = torch.randn(len(labels), 4, generator=torch.Generator().manual_seed(2))
    votes = knn_votes(features, labels, features + 0.5, k=30, temperature=0.07, num_classes=C)
    hits = (votes.topk(top).indices == labels[:, None]).any(1)
    theirs = classification.multiclass_accuracy(votes, labels, C, average="micro", top_k=top)
    assert 0 < theirs < 1
    assert mean_estimate(hits).value == pytest.approx(float(theirs), abs=1e-6)


def test_accuracy_of_each_class(labels: Tensor, predicted: Tensor) -> None:
    ours = Classified(labels, predicted, [*map(str, range(C))]).by_class
    theirs = classification.multiclass_accuracy(predicted, labels, C, average=None)
    assert [ours[label].value for label in range(C)] == pytest.approx(theirs.tolist(), abs=1e-6)


def test_average_precision_of_a_ranking() -> None:
    drawn = torch.Generator().manual_seed(3)
    scores, relevant = torch.rand(50, generator=drawn), torch.rand(50, generator=drawn) < 0.2
    ours = average_precision(relevant[scores.argsort(descending=True)], method="step")
    assert ours == pytest.approx(float(retrieval.retrieval_average_precision(scores, relevant)), abs=1e-6)


def test_average_precision_of_all_pairs() -> None:
    drawn = torch.Generator().manual_seed(4)
    database, queries = torch.randn(30, 4, generator=drawn), torch.randn(8, 4, generator=drawn)
    instances, wanted = torch.arange(30) % 10, torch.arange(8)
    ours = micro_average_precision(database, queries, instances, wanted, torch.device("cpu"))
    cosines = F.normalize(queries, dim=1) @ F.normalize(database, dim=1).T  # [Q, N]
    right = instances == wanted[:, None]
    theirs = classification.binary_average_precision(cosines.flatten(), right.flatten().long())
    assert ours.value == pytest.approx(float(theirs), abs=1e-5)


def test_agreement_of_partitions(labels: Tensor, predicted: Tensor) -> None:
    ours = agreement(predicted, labels)
    with torch.sparse.check_sparse_tensor_invariants(enable=False):  # they build a sparse table
        theirs = {
            "nmi": clustering.normalized_mutual_info_score(predicted, labels),
            "ami": clustering.adjusted_mutual_info_score(predicted, labels),
            "ari": clustering.adjusted_rand_score(predicted, labels),
        }
    assert {name: number.value for name, number in ours.items()} == pytest.approx(
        {name: float(value) for name, value in theirs.items()}, abs=1e-4
    )


def test_an_interval_for_any_of_its_metrics(labels: Tensor, predicted: Tensor) -> None:
    def f1(rows: Tensor) -> float:
        return float(classification.multiclass_f1_score(predicted[rows], labels[rows], C))

    found = estimate(f1, len(labels), resamples=200)
    assert found.value == pytest.approx(f1(torch.arange(len(labels))))
    assert found.low < found.value < found.high
