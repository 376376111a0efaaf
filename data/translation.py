"""Batches of a parallel corpus for Lightning."""

from data.parallel import ParallelCorpus
from data.training_data import TrainingData
from data.translation_batches import LengthBuckets, TranslationBatch, translation_batch

__all__ = ["TranslationBatch", "TranslationData"]


class TranslationData(TrainingData):
    """Pairs of similar length, `batch_tokens` tokens over all devices and the `n_micro` passes of a step.

    UserError as of `TrainingData`.
    """

    steps_per_epoch: int

    def __init__(
        self, parallel: ParallelCorpus, context: int, batch_tokens: int, seed: int, micro_batches: int = 1
    ) -> None:
        super().__init__(context, seed, micro_batches)
        self.parallel = parallel
        self.batch_tokens = batch_tokens
        self.vocabulary_size = parallel.tokenizer.vocabulary_size
        self.place = str(parallel.text.path)
        self.tokenizer_file = parallel.tokenizer.content
        self.buckets = LengthBuckets(parallel.pairs("train"), batch_tokens)
        self.steps_per_epoch = len(self.buckets)

    def batch(self, step: int, rank: int, world_size: int, micro: int) -> TranslationBatch:
        epoch, index = divmod(step, self.steps_per_epoch)
        rows = self.buckets.rows(self.seed, epoch, index)
        return translation_batch(self.buckets.pairs, rows, micro * world_size + rank, self.n_micro * world_size)
