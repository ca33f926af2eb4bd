# The front door. `make help` lists what there is; docs/building.md says more.
# .NOTPARALLEL: the targets use one build tree after another; ninja does the parallel work.
.NOTPARALLEL:

# Of `make run` with PROMPT or ARGS: what the other one is.
default_prompt = The three most useful things to know about the night sky are
default_args   = --sparsity 20% -n 100
# CMake presets print their variables at every call: of a configure only warnings and errors matter.
configure = cmake --preset $(1) >/dev/null

# BACKEND=vulkan or cuda: ggml's back end for that kind of GPU too. It stays when it is not named again, and goes along
# with `make portable`.
.PHONY: build run test clients deps asan tsan portable format clean help

build: deps  ## build the release binary, build/orthorank; for a GPU: BACKEND=vulkan or BACKEND=cuda
	@$(call configure,release)
	@cmake --build --preset release --target orthorank

run: build  ## a long prompt, dense and under a plan; or generate text (PROMPT="...", ARGS="--plan FILE ...")
ifeq ($(PROMPT)$(ARGS),)
	@tools/show-prompt-plan
else
	build/orthorank generate -p "$(or $(PROMPT),$(default_prompt))" $(or $(ARGS),$(default_args))
endif

test: deps  ## build the tests, beside the program, and run them all
	@$(call configure,release)
	@cmake --build --preset release
	@ctest --preset release -j$(shell nproc)

clients: build  ## real clients against the server: lm-eval, openai, Chromium (installs 800 MB of packages)
	@tools/setup clients
	@$(call configure,release)
	@ctest --preset release -R '^clients\.'

deps:  ## install what is missing: Debian packages, the default model, ggml and libllama
	@tools/setup $(BACKEND)

asan: deps  ## the tests again, with the address and undefined-behaviour sanitizers
	@$(call configure,asan)
	@cmake --build --preset asan
	@ctest --preset asan

tsan:  ## the tests that use threads, with the thread sanitizer (in ggml too: built once more)
	@tools/setup tsan
	@$(call configure,tsan)
	@cmake --build --preset tsan
	@ctest --preset tsan

portable:  ## build-portable/orthorank for any processor of this kind, ggml too (built once more), and what tests that; BACKEND as for build
	@$(if $(BACKEND),tools/setup $(BACKEND))
	@tools/setup portable
	@$(call configure,portable)
	@cmake --build --preset portable
	@ctest --preset portable

format:  ## format the C++ sources
	git ls-files '*.cpp' '*.h' | xargs -r clang-format -i

clean:  ## remove the build trees (.deps stays: remove it by hand to set up again)
	rm -rf build build-dev build-asan build-tsan build-portable

help:  ## list these targets
	@sed -n 's/^\([a-z]*\):.*##  *\(.*\)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 10
