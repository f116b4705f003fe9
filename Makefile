# hybrid needs no build: cc app.c -lm is all. This file is for people who work on it.

CC     ?= cc
PYTHON ?= python3
MODELS  = $(or $(HYBRID_MODELS),models)
STORY   = examples/data/stories260K-q8_0.gguf
REAL    = $(MODELS)/SmolLM2-135M-Instruct.Q4_1.gguf

.PHONY: help demo test test-long gates gates-prove mutations fuzz emu nvrtc-check sass-check gpu-check bench bench-train bench-grammar bench-sampler bench-adapter bench-step bench-speculate bench-batch study study-smoke oracles model model-gemma header check-amalgamation clean compile_commands.json

help:
	@echo "make demo                a small model tells a story (offline); after 'make model' a real one answers"
	@echo "make test                every test and gate that this machine can run; says what it skipped, and why"
	@echo "make test-long           what takes too long for make test: 300 kills of a training that saves, and whole runs"
	@echo "make model               fetches SmolLM2-135M-Instruct (98 MB) into $(MODELS)/"
	@echo "make model-gemma         fetches Gemma 3 270M (253 MB) into $(MODELS)/"
	@echo "make bench               speed against llama.cpp on this machine (first time: about 7 minutes of pip); ARGS='--isa avx2'..."
	@echo "make bench-train         speed of training against PyTorch on this machine; ARGS='--rows 4x64 --threads 2'..."
	@echo "make study-smoke         the study of prediction in small, under 3 minutes: that it works, not what it finds"
	@echo "make study               does prediction save steps? tests/study/PROTOCOL.md; hours, resumable; ARGS='--models S --jobs 2'..."
	@echo "make bench-grammar       how long the masks of grammars take, beside llama.cpp's; ARGS='--rounds 5'..."
	@echo "make bench-sampler       what each part of the sampler's chain costs with 262,144 logits; ARGS='12': ms of a token"
	@echo "make bench-adapter       how much longer a decode step is with an adapter; ARGS='--threads 1 --rank 32'..."
	@echo "make bench-batch         tokens a second of 1, 4, 16 and 64 sequences together, against llama.cpp; ARGS='--rows smollm2'..."
	@echo "make bench-step          how well slices of hybrid_session_step keep to 1, 2 and 4 ms; ARGS='model.gguf --calls 10000'..."
	@echo "make bench-speculate    tokens/s with guesses of the next tokens: JSON, code, quotes, prose; ARGS='model.gguf --runs 5'"
	@echo "make fuzz                libFuzzer on everything that reads foreign bytes (SECONDS=30 each)"
	@echo "make emu                 the emulated GPU in build/emu: HYBRID_CUDA_PATH=build/emu runs a program on it"
	@echo "make mutations           breaks the GPU kernels in a hundred ways, and expects the tests to notice (minutes)"
	@echo "make nvrtc-check         compiles every GPU kernel for every architecture (needs NVRTC, no GPU; some minutes)"
	@echo "make sass-check          reads the machine code of GPU kernels that changed: tests/results/sass.txt (needs nvdisasm, no GPU)"
	@echo "make gpu-check           on a machine with an NVIDIA GPU: tests, compute-sanitizer, speeds and peers; TO=folder of the report"
	@echo "make gates               header up to date, standards, cut-outs, leaks, examples, README"
	@echo "make gates-prove         breaks everything that a gate guards, and expects the gate to see it"
	@echo "make oracles             makes the reference numbers in tests/oracle/data anew (needs pip)"
	@echo "make header              makes hybrid.h and hybrid_cuda.h from src/"
	@echo "make check-amalgamation  fails when a header is not what src/ makes"
	@echo "make compile_commands.json   for clangd: every file of src/ compiles alone"
	@echo "make clean               removes build/"

header:
	@$(PYTHON) amalgamate.py

check-amalgamation:
	@$(PYTHON) amalgamate.py --check

compile_commands.json:
	@$(PYTHON) tests/gates/rooms.py

test:
	@CC="$(CC)" $(PYTHON) tests/run_tests.py

test-long:
	@CC="$(CC)" HYBRID_KILLS=300 HYBRID_LONG=1 $(PYTHON) tests/run_tests.py --plain checkpoint test_predictor test_train test_real
	@CC="$(CC)" HYBRID_LONG=1 $(PYTHON) tests/gates/gates.py --only training

gates:
	@$(PYTHON) tests/gates/gates.py

gates-prove:
	@$(PYTHON) tests/gates/gates.py --prove

fuzz:
	@HYBRID_FUZZ_SECONDS=$(or $(SECONDS),30) $(PYTHON) tests/run_tests.py --fuzz

mutations:
	@$(PYTHON) tests/mutate_cuda.py

emu:
	@$(PYTHON) tests/emu/build.py --to build/emu
	@echo "HYBRID_CUDA_PATH=build/emu ./program   runs a program on it"

nvrtc-check:
	@$(PYTHON) tests/nvrtc_check.py

sass-check:
	@$(PYTHON) tests/sass_check.py

gpu-check:
	@$(PYTHON) tests/gpu_check.py --to $(or $(TO),build/gpu-check) $(ARGS)

model:
	@MAKE_GOAL=$@ $(PYTHON) tests/fetch_model.py smollm2 --to $(MODELS)

model-gemma:
	@MAKE_GOAL=$@ $(PYTHON) tests/fetch_model.py gemma --to $(MODELS)

bench bench-train bench-grammar bench-batch oracles:
	@$(PYTHON) tests/venv.py $@ $(ARGS)

study-smoke:
	@CC="$(CC)" $(PYTHON) tests/study/study.py --smoke

study:
	@CC="$(CC)" $(PYTHON) tests/study/study.py run $(ARGS)

bench-sampler:
	@mkdir -p build && $(CC) -O2 tests/bench/bench_sampler.c -o build/bench_sampler -lm && build/bench_sampler $(ARGS)

bench-adapter: hybrid.h
	@$(PYTHON) tests/bench/bench_adapter.py $(REAL) $(ARGS)

# Without ARGS: both real models.
bench-step: hybrid.h
	@mkdir -p build
	@$(CC) -O2 -DHYBRID_STATIC -w -I. tests/bench/bench_step.c -o build/bench_step -lm
	@if [ -n "$(ARGS)" ]; then ./build/bench_step $(ARGS); else \
	   for m in $(REAL) $(MODELS)/gemma-3-270m-q4_k_m.gguf; do ./build/bench_step $$m; done; fi

bench-speculate: hybrid.h
	@mkdir -p build
	@$(CC) -O2 -DHYBRID_STATIC -w -I. tests/bench/bench_speculate.c -o build/bench_speculate -lm
	@./build/bench_speculate $(if $(ARGS),$(ARGS),$(REAL))

# The implementation, compiled once for all examples; each of them would do it by itself.
build/hybrid.o: hybrid.h hybrid_cuda.h
	@mkdir -p build
	@echo "compiling the library, once (half a minute) ..."
	@printf '#define HYBRID_IMPLEMENTATION\n#include "hybrid.h"\n#include "hybrid_cuda.h"\n' | $(CC) -O2 -I. -x c -c - -o $@

build/%: examples/%.c build/hybrid.o
	$(CC) -O2 -DHYBRID_IMPLEMENTED -DHYBRID_CUDA_IMPLEMENTED $< build/hybrid.o -o $@ -lm

build/%: examples/%.cpp build/hybrid.o
	$(CXX) -O2 -DHYBRID_IMPLEMENTED -DHYBRID_CUDA_IMPLEMENTED $< build/hybrid.o -o $@ -lm

demo: build/generate build/chat
	@./build/generate $(STORY) "Once upon a time" -t 0.6 -s 1 -n 200
	@echo
	@if [ ! -f $(REAL) ]; then \
	   echo "That was a model of 260 thousand weights. 'make model' fetches one of 135 million that answers (98 MB); then make demo again."; \
	 elif [ -t 0 ]; then ./build/chat $(REAL); \
	 else echo "Why is the sky blue?"; echo "Why is the sky blue?" | ./build/chat $(REAL) -t 0 --repeat 1 -n 160; fi

clean:
	rm -rf build
