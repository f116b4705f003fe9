/* hybrid: runs and trains language models inside your program. One header, plain C, no dependencies. */
#ifndef HYBRID_H
#define HYBRID_H
#include "base.h"
#include "runtime.h"
#include "quant.h"
#include "gguf.h"
#ifndef HYBRID_NO_TEXT
    #include "tokenizer.h"
    #include "chat.h"
    #ifndef HYBRID_NO_GRAMMAR
        #include "grammar.h"
    #endif
    #ifndef HYBRID_NO_TRAIN
        #include "bpe_trainer.h"
        #include "train_data.h"
    #endif
#endif
#include "model.h"
#include "context.h"
#include "adapter.h"
#include "sampler.h"
#include "score.h"
#include "embed.h"
#ifndef HYBRID_NO_TRAIN
    #include "shape.h"
    #include "trainable.h"
    #include "trainer.h"
    #ifndef HYBRID_NO_PREDICT
        #include "predict.h"
    #endif
    #include "curve.h"
    #include "learn.h"
#endif
#ifndef HYBRID_NO_TEXT
    #include "stream.h"
    #include "session.h"
    #include "crowd.h"
#endif
#include "saved.h"
#include "abi.h"

#ifdef __cplusplus
}
#endif
#endif /* HYBRID_H */
