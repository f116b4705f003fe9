#!/usr/bin/env python3
"""PEFT as a measuring stick for training adapters: SmolLM2 135M by transformers in F32 (random weights of its shape),
LoRA of rank 16 on q_proj and v_proj, SDPA, fused AdamW. A line of JSON for each step, then the peak of memory.

    peer_peft_train.py N_SEQ N_CTX N_THREADS N_STEPS eager|compiled
"""
import json
import resource
import sys
import time

import peft
import torch
import transformers

VOCAB = 49152


def main():
    n_seq, n_ctx, threads, steps = map(int, sys.argv[1:5])
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=VOCAB, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, max_position_embeddings=8192, rope_theta=100000.0, tie_word_embeddings=True,
        attn_implementation="sdpa")
    model = peft.get_peft_model(transformers.LlamaForCausalLM(config), peft.LoraConfig(
        r=16, lora_alpha=16, target_modules=["q_proj", "v_proj"]))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-4, fused=True)
    loss_of = torch.compile(model) if sys.argv[5] == "compiled" else model
    ids = torch.randint(0, VOCAB, (n_seq, n_ctx))
    for _ in range(steps):
        since = time.perf_counter()
        loss = loss_of(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds = time.perf_counter() - since
        print(json.dumps(dict(tokens_per_second=n_seq * n_ctx / seconds, loss=loss.item())), flush=True)
    print(json.dumps(dict(peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)), flush=True)


if __name__ == "__main__":
    main()
