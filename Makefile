# `make demo` and `make test` do all their set-up, each step once.
SHELL := /bin/bash
VENV ?= .venv
# With a ROS 2 installation sourced, the Python that has its rclpy; else any of 3.10 to 3.13.
ROS := $(if $(ROS_DISTRO),$(shell $(or $(PYTHON),python3) -c 'import rclpy' 2>/dev/null && echo yes))
ifeq ($(ROS),yes)
  PYTHON ?= python3
else
  PYTHON := $(or $(PYTHON),$(shell for v in 3.11 3.12 3.13 3.10 3; do python$$v -c \
    'import sys; assert (3, 10) <= sys.version_info[:2] <= (3, 13)' 2>/dev/null && { echo python$$v; break; }; done))
endif

# PREFIX: the environment that is made, in which BIN is; BUILD: inside it, so that it goes with it.
PREFIX := $(abspath $(VENV))
BIN := $(PREFIX)/bin
BUILD := $(PREFIX)/build
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-compile
# Files may change without another installation (they are linked), but not come or go, nor messages and builds change.
LIST := $(shell find latent_policy_ros config launch -type f -not -path '*/__pycache__/*' 2>/dev/null | LC_ALL=C sort | cksum | cut -d' ' -f1)
BUILT := CMakeLists.txt package.xml latent_policy_ros/nodes/executable.in $(wildcard msg/*.msg action/*.action)

export OMP_NUM_THREADS ?= 1
MODE := $(if $(ROS),over ROS 2 $(ROS_DISTRO),with ROS 2 from wheels)
MADE := $(or $(if $(wildcard $(PREFIX)/.python),$(shell cat $(PREFIX)/.python)),$(MODE))
ifneq ($(MADE),$(MODE))
  ifeq ($(filter clean help,$(MAKECMDGOALS)),)
    $(error $(VENV) was made $(MADE), and would now be $(MODE): type make clean, or choose another folder with VENV=)
  endif
endif
ifeq ($(ROS),yes)
  VENV_FLAGS := --system-site-packages
  CMAKE_PREFIXES := $(subst :,;,$(AMENT_PREFIX_PATH))
  export AMENT_PREFIX_PATH := $(PREFIX):$(AMENT_PREFIX_PATH)
  export LD_LIBRARY_PATH := $(PREFIX)/lib:$(LD_LIBRARY_PATH)
else
  CMAKE_PREFIXES := $(PREFIX)
  export AMENT_PREFIX_PATH := $(PREFIX)
endif

.PHONY: help setup opengl demo test lint clean
help:   ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/:/'

demo: setup   ## two robots, one policy, real ROS 2: writes a bag, a video and a summary under runs/demo
	@$(BIN)/latent-policy demo $(ARGS)

# Tests of running nodes and of emulated hardware depend on time: they run alone, and once more if they fail. All others run in parallel, each process in a ROS domain of its own.
TIMED := test/nodes test/drivers
# A stage that hangs, which no test's own time limit may see (e.g. between tests), is ended and shows where it was.
PYTEST := ROS_PYTHON_CHECK_FIELDS=1 timeout --foreground --signal=ABRT --kill-after=10 2400 $(BIN)/python -m pytest -q --tb=short
test: setup   ## the test suite; TESTS=test/nodes for a part of it
ifdef TESTS
	@$(PYTEST) $(TESTS) $(ARGS)
else
	@status=0; \
	$(PYTEST) test $(addprefix --ignore=,$(TIMED)) -n auto --maxprocesses 4 --dist loadfile $(ARGS) || status=$$?; \
	$(PYTEST) $(TIMED) --reruns 1 $(ARGS) || status=$$?; \
	exit $$status
endif

lint: setup   ## ruff check, ruff format and mypy over the ROS-free packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

setup: $(BUILD)/standard-messages $(BUILD)/installed-$(LIST) opengl   ## the virtual environment in .venv, with messages and nodes

$(PREFIX)/.python:
	@[ -n "$(PYTHON)" ] || { echo "error: no Python 3.10 to 3.13 found; say where it is: make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' && \
	  command -v $${CXX:-c++} >/dev/null || { \
	  echo "error: a C++ compiler and Python's headers are needed to build the messages; type: sudo apt install g++ python3-dev"; exit 1; }
	@echo "Making $(VENV), $$($(PYTHON) --version) $(MODE)"
	@$(PYTHON) -m venv $(VENV_FLAGS) $(VENV)
	@echo "$(MODE)" > $@

$(PREFIX)/.requirements: $(PREFIX)/.python $(wildcard requirements/*.txt)
	@echo "Installing the pinned packages (minutes, the first time)"
	@$(PIP) -r requirements/core.txt -r requirements/build.txt -c requirements/constraints.txt
	@$(if $(ROS),,$(PIP) --require-hashes --no-deps -r requirements/ros.txt)
	@touch $@

CMAKE_FLAGS = -G Ninja -DCMAKE_INSTALL_PREFIX=$(PREFIX) -DCMAKE_PREFIX_PATH="$(CMAKE_PREFIXES)" \
  -DPython3_EXECUTABLE=$(BIN)/python -DPython3_FIND_VIRTUALENV=ONLY -DBUILD_TESTING=OFF

# Standard messages that PyPI does not have. Those of a ROS 2 installation are used where it has them.
$(BUILD)/standard-messages: $(PREFIX)/.requirements $(shell find msg/standard -type f)
	@mkdir -p $(BUILD)
	@for package in control_msgs tf2_msgs; do \
	  if [ -n "$(ROS)" ] && $(PYTHON) -c "import $$package" 2>/dev/null; then continue; fi; \
	  echo "Building the messages of $$package"; \
	  ( export PATH=$(BIN):$$PATH; cmake -S msg/standard/$$package -B $(BUILD)/standard/$$package $(CMAKE_FLAGS) && \
	    cmake --build $(BUILD)/standard/$$package && cmake --install $(BUILD)/standard/$$package ) > $(BUILD)/log.txt 2>&1 || \
	  { tail -40 $(BUILD)/log.txt; echo "error: $$package did not build; the whole log: $(BUILD)/log.txt"; exit 1; }; \
	done
	@touch $@

$(BUILD)/installed-$(LIST): $(PREFIX)/.requirements $(BUILT)
	@echo "Installing latent_policy_ros and its messages"
	@mkdir -p $(BUILD) && rm -f $(BUILD)/installed-*
	@find latent_policy_ros $(PREFIX)/lib/python*/site-packages/latent_policy_ros -name '*.nb[ic]' -delete 2>/dev/null || true
	@( export PATH=$(BIN):$$PATH; cmake -S . -B $(BUILD) $(CMAKE_FLAGS) -DAMENT_CMAKE_SYMLINK_INSTALL=ON && \
	  cmake --build $(BUILD) && cmake --install $(BUILD) ) > $(BUILD)/log.txt 2>&1 || \
	  { tail -40 $(BUILD)/log.txt; echo "error: the package did not build; the whole log: $(BUILD)/log.txt"; exit 1; }
	@echo "Compiling the kernels of retargeting"
	@$(BIN)/latent-policy embodiments check mimic_hand --out $(BUILD)/check.png > $(BUILD)/log.txt 2>&1 || \
	  { cat $(BUILD)/log.txt; echo "error: latent-policy embodiments check mimic_hand failed"; exit 1; }
	@touch $@

# Rendering without a screen needs an OpenGL loader: installed where that is allowed, else the one line to type is printed.
HAS_OPENGL = $(BIN)/python -c 'import sys; from latent_policy_ros.sim import render; sys.exit(render.choose_gl() == "disable")' 2>/dev/null
opengl: $(BUILD)/installed-$(LIST)
	@$(HAS_OPENGL) || { echo "Installing an OpenGL loader"; sudo=$$([ $$(id -u) = 0 ] || echo "sudo -n"); \
	  { $$sudo apt-get update -qq && $$sudo apt-get install -y -qq libegl1 libgl1; } >/dev/null 2>&1 || \
	  { echo "error: rendering needs an OpenGL loader; type: sudo apt install libegl1 libgl1"; exit 1; }; }

clean:  ## remove what was built and installed
	rm -rf $(VENV) build install log *.egg-info
