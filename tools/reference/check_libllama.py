"""Compares the reference's dense logits with libllama's on the same files.

F32 K and V, without flash attention: with it libllama casts an F32 cache to F16 at every use.

python check_libllama.py MODEL.gguf...
"""

import sys

import numpy as np
import torch
from llama_cpp import Llama

from model import Model
from sequence import Sequence


def libllama_logits(path, tokens):
    llama = Llama(path, n_ctx=512, n_batch=512, n_threads=1, logits_all=True, type_k=0, type_v=0,
                  flash_attn=False, verbose=False)
    llama.eval(tokens)
    return np.array(llama.scores[:len(tokens)])


def check(path):
    model = Model(path)
    n_vocab = model.weights["token_embd.weight"].shape[0]
    tokens = np.random.default_rng(1).integers(3, n_vocab, 40).tolist()
    with torch.no_grad():
        ours = model.logits(Sequence(model).forward(tokens).hidden).numpy()
    theirs = libllama_logits(path, tokens)
    difference = np.abs(ours - theirs).max() / np.abs(theirs).max()
    print(f"{path.split('/')[-1]}: largest difference {difference:.2e} of the largest logit "
          f"{np.abs(theirs).max():.2f}")
    if difference > 1e-4:
        raise SystemExit("the reference and libllama disagree")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for argument in sys.argv[1:]:
        check(argument)
