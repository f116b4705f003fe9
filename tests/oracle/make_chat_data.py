#!/usr/bin/env python3
"""Makes tests/oracle/data/chat_data.txt, which tests/test_data.c reads: conversations as transformers'
apply_chat_template makes tokens of them, and which of those the assistant says, by its own marks ({% generation %}).
The first line is the text that the vocabulary is trained on, in hexadecimal; then a line for each conversation, fields
between tabs:

    number of the template   the JSON line, in hexadecimal   ids   mask, 0 and 1

Run from the root of the repository with the virtual environment of `make oracles`.
"""
import json
import random

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# ChatML, and one that trims what is said and ends the conversation with a token of its own.
TEMPLATES = [
    "{% for message in messages %}{% if message['role'] == 'assistant' %}{{ '<|im_start|>assistant\\n' }}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}{% else %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "{% for message in messages %}{% if message['role'] == 'assistant' %}{{ 'A: ' }}"
    "{% generation %}{{ message['content'] | trim + '<|endoftext|>' }}{% endgeneration %}{% else %}"
    "{{ 'Q: ' + message['content'] | trim + '\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'A: ' }}{% endif %}",
]
WORDS = ["the", "a", "cat", "dog", "12", "é", "東京", "\n", "  ", "!", "?", "don't", "it's", "\U0001f600", "\"", "\\",
         "one", "two", "x²", "<|im_end", "assistant", "\t"]


def main():
    rng = random.Random("chat data")

    def say():
        return "".join(rng.choice(WORDS) + rng.choice([" ", "", "\n"]) for _ in range(rng.randint(1, 8)))
    text = "".join(say() for _ in range(60))
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.train_from_iterator([text], trainers.BpeTrainer(vocab_size=340, special_tokens=SPECIALS, show_progress=False,
                                                      initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    hf = PreTrainedTokenizerFast(tokenizer_object=t, eos_token="<|endoftext|>")
    lines = [text.encode().hex() + "\n"]
    for i in range(30):
        messages = [{"role": "system", "content": say()}] if rng.random() < 0.4 and i % 2 == 0 else []
        for _ in range(rng.randint(1, 4)):
            messages += [{"role": "user", "content": say()}, {"role": "assistant", "content": say()}]
        out = hf.apply_chat_template(messages, chat_template=TEMPLATES[i % 2], return_dict=True,
                                     return_assistant_tokens_mask=True)
        ids, mask = out["input_ids"], out["assistant_masks"]
        line = json.dumps({"messages": messages}, ensure_ascii=i % 3 == 0)
        lines.append("\t".join([str(i % 2), line.encode().hex(), " ".join(map(str, ids)),
                                "".join(map(str, mask))]) + "\n")
    open("tests/oracle/data/chat_data.txt", "w").writelines(lines)
    print(len(lines) - 1, "conversations")


main()
