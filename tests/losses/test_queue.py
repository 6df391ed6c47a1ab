import torch

from mrkd.losses.queue import EmbeddingQueue


def test_new_embeddings_come_last_and_the_oldest_leave():
    queue = EmbeddingQueue(4, 2)
    first, second = torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]), torch.tensor([[4.0, 4.0], [5.0, 5.0]])
    queue.push(first)
    queue.push(second)
    assert queue.embeddings[:, 0].tolist() == [2.0, 3.0, 4.0, 5.0]


def test_of_a_batch_larger_than_the_queue_the_last_embeddings_stay():
    queue = EmbeddingQueue(2, 1)
    queue.push(torch.tensor([[1.0], [2.0], [3.0]]))
    assert queue.embeddings[:, 0].tolist() == [2.0, 3.0]


def test_a_new_queue_holds_the_same_random_directions_each_time():
    queue = EmbeddingQueue(5, 3)
    assert torch.equal(queue.embeddings, EmbeddingQueue(5, 3).embeddings)
    torch.testing.assert_close(queue.embeddings.norm(dim=1), torch.ones(5))
