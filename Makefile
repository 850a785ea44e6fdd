# `make demo` and `make test` do all their set-up on a fresh machine.
SHELL := /bin/bash
VENV := .venv
PYTHON ?= $(shell for v in 3.11 3.12 3.13 3.10 3; do p=$$(command -v python$$v) && $$p -c \
  'import sys; assert (3, 10) <= sys.version_info[:2] <= (3, 13)' 2>/dev/null && { echo $$p; break; }; done)
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
SOURCES := $(shell find latent_policy_ros config launch msg -type f -not -name '*.pyc' 2>/dev/null)
export OMP_NUM_THREADS ?= 1

# With a ROS 2 installation sourced, its rclpy, messages and generators are used instead of the wheels.
ifdef ROS_DISTRO
  VENV_FLAGS := --system-site-packages
  PREFIXES := $(subst :,;,$(AMENT_PREFIX_PATH))
else
  PREFIXES := $(abspath $(VENV))
  export AMENT_PREFIX_PATH := $(abspath $(VENV))
endif

.PHONY: help setup opengl demo test lint clean
help:   ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/:/'

demo: setup   ## two robots, one policy, real ROS 2: writes a bag, a video and a summary under runs/demo
	$(BIN)/latent-policy demo $(ARGS)

test: setup   ## the test suite
	$(BIN)/python -m pytest -q test $(ARGS)

lint: setup   ## ruff
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

setup: $(VENV)/.package opengl   ## the virtual environment in .venv, with messages and nodes

$(VENV)/.python:
	@[ -n "$(PYTHON)" ] || { echo "error: Python 3.10 to 3.13 is needed; say which with: make PYTHON=/path/to/python"; exit 1; }
	@for tool in cmake c++; do command -v $$tool >/dev/null || { \
	  echo "error: $$tool is needed to build the messages; type: sudo apt install cmake g++ python3-dev"; exit 1; }; done
	$(PYTHON) -m venv $(VENV_FLAGS) $(VENV)
	@touch $@

$(VENV)/.requirements: $(VENV)/.python requirements/core.txt requirements/build.txt requirements/ros.txt
	@echo "Installing the pinned packages (minutes, the first time)"
	$(PIP) -r requirements/core.txt -r requirements/build.txt
	$(if $(ROS_DISTRO),,$(PIP) --require-hashes --no-deps -r requirements/ros.txt)
	@touch $@

$(VENV)/.package: $(VENV)/.requirements CMakeLists.txt package.xml setup.py $(SOURCES)
	@echo "Installing latent_policy_ros and its messages"
	@$(PIP) --no-deps --no-build-isolation --force-reinstall .
	@( cmake -S . -B build/cmake -DCMAKE_INSTALL_PREFIX=$(abspath $(VENV)) -DCMAKE_PREFIX_PATH="$(PREFIXES)" \
	    -DPython3_EXECUTABLE=$(abspath $(BIN))/python -DBUILD_TESTING=OFF && \
	  cmake --build build/cmake --parallel && cmake --install build/cmake ) > build/messages.log 2>&1 || \
	  { tail -40 build/messages.log; echo "error: the messages did not build; the log is build/messages.log"; exit 1; }
	@touch $@

# Rendering without a screen needs an OpenGL loader: installed where that is allowed, else the one line to type is printed.
opengl:
	@ldconfig -p 2>/dev/null | grep -qE 'libEGL\.so\.1|libOSMesa\.so' || { \
	  sudo=$$([ $$(id -u) = 0 ] || echo "sudo -n"); \
	  { $$sudo apt-get update -qq && $$sudo apt-get install -y -qq libegl1 libgl1; } >/dev/null 2>&1 || \
	  { echo "error: rendering needs an OpenGL loader; type: sudo apt install libegl1 libgl1"; exit 1; }; }

clean:  ## remove what was built and installed
	rm -rf $(VENV) build install log *.egg-info
