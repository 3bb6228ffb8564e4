# Two commands: `make demo` runs the main job on real photos, `make test` passes the tests.
# Each makes the environment it needs in .venv. PY chooses the interpreter (3.11 or 3.12).
PY ?= python3
BIN := .venv/bin
# Two processes, each with whole files, since a file's tests share what they make.
TWO := -n 2 --dist loadfile
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo -n)
# pip's own variable for a folder of wheels, handed on to uv, which does not read it.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)

.PHONY: demo demo-generate demo-short test lint test-services test-slow bench clean

.venv/.done: pyproject.toml constraints.txt
	$(PY) -m venv .venv
	$(BIN)/pip install -q uv
	$(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt -e '.[dev,services]'
	touch $@

demo: .venv/.done ## super-resolution, the whole pipeline, sized for 2 cores
	$(BIN)/lsr data get lpips
	$(BIN)/lsr retrain --recipe demo

demo-generate: .venv/.done ## generation from noise, the same line
	$(BIN)/lsr retrain --recipe demo-generate

demo-short: .venv/.done ## a few steps a stage: every part once, no quality
	$(BIN)/lsr retrain --recipe short

lint: .venv/.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint ## the fast tier: no system package, no network
	$(BIN)/pytest -q $(TWO) -m "not services and not slow and not soak and not gpu"

test-services: .venv/.done ## real servers, installed by apt where they are missing
	command -v radosgw >/dev/null && command -v docker-compose >/dev/null && ls /usr/lib/postgresql/*/bin/initdb >/dev/null \
	  || $(SUDO) infra/apt.sh docker-compose
	$(BIN)/pytest -q --no-skips -m "services and not soak"

test-slow: .venv/.done ## kills, clean environments, a browser (installed by apt where it is missing), long runs
	command -v chromium >/dev/null || $(SUDO) infra/apt.sh --only chromium
	$(BIN)/pytest -q $(TWO) --no-skips -m "slow and not services and not soak and not gpu"

bench: .venv/.done ## every claim of speed, on an idle machine; rewrites benchmarks/results
	for name in help_time cached_rerun reading shard_tile sharding step_overhead; do \
		$(BIN)/python -m benchmarks.$$name || exit 1; done

clean:
	rm -rf .venv lsr-home
