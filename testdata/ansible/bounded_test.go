package ansible

import (
	"strings"
	"testing"
)

// A warning from a bounded call, longer than a pipe holds, while nobody reads the pipe: its sender is in the middle of it
// when the process ends. The lock of the workers' queue has to be free afterwards.
const lockScript = `
import importlib.util, sys
from ansible.executor.task_queue_manager import FinalQueue
from ansible.utils.display import Display
from ansible.utils.multiprocessing import context
spec = importlib.util.spec_from_file_location('bounded', sys.argv[1])
bounded = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bounded)

def call():
    import time
    Display().warning('x' * 200000)
    time.sleep(0.5)
    return {'said': True}

def worker(queue):
    Display().set_queue(queue)
    print(bounded.bounded(call, 10), 'free' if queue._wlock.acquire(timeout=2) else 'held', flush=True)

process = context.Process(target=worker, args=(FinalQueue(),))
process.start()
process.join()
`

// TestBoundedHoldsNoLock: a call whose process ends while it has something to say does not stop all workers.
func TestBoundedHoldsNoLock(t *testing.T) {
	out := command(t, "", "/usr/bin/python3", "-c", lockScript, "../../ansible/plugins/plugin_utils/bounded.py")
	if !strings.Contains(out, "{'said': True} free") {
		t.Errorf("after the call: %s", out)
	}
}
