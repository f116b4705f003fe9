#!/usr/bin/env python3
"""chat: talks with a GGUF model from Python, word by word.

    cc -O2 -shared -fPIC -x c -DHYBRID_IMPLEMENTATION ../../hybrid.h -o libhybrid.so -lm
    python3 chat.py model.gguf                          a conversation
    python3 chat.py model.gguf "Once upon a time"       continues a text: 256 tokens at temperature 0
"""
import sys
from ctypes import POINTER, byref

import hybrid


def answer(session, said):
    """Prints the pieces of the answer to what was said as they come."""
    while not said:
        piece = hybrid.hybrid_session_next(session)
        if piece is None:
            break
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    print(flush=True)
    error = hybrid.hybrid_error()
    if hybrid.hybrid_session_result(session, byref(error)):
        sys.exit("chat: " + error.message.decode())


def main():
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit(__doc__)
    error = hybrid.hybrid_error()
    model, session = POINTER(hybrid.hybrid_model)(), POINTER(hybrid.hybrid_session)()
    text = sys.argv[2].encode() if len(sys.argv) > 2 else None
    desc = hybrid.hybrid_model_desc(path=sys.argv[1].encode())
    how = hybrid.hybrid_session_desc(max_tokens=256)
    if not text:
        how.sampler.temperature, how.sampler.top_p = 0.7, 0.9
    if hybrid.hybrid_model_load(None, byref(desc), byref(model), byref(error)) or \
            hybrid.hybrid_session_create(model, byref(how), byref(session), byref(error)):
        sys.exit("chat: " + error.message.decode())
    if text:
        print(text.decode(), end="", flush=True)
        answer(session, hybrid.hybrid_session_complete(session, text))
    else:
        for line in iter(lambda: input("> "), ""):
            answer(session, hybrid.hybrid_session_say(session, line.encode()))
    hybrid.hybrid_session_destroy(session)
    hybrid.hybrid_model_destroy(model)


if __name__ == "__main__":
    main()
