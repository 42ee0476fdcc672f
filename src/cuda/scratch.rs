//! GPU memory that a call's kernels leave the range in for one another.

use std::ptr;
use std::sync::{Mutex, PoisonError};

use cudarc::driver::sys::{CUdeviceptr, CUevent, CUevent_flags, CUevent_wait_flags, CUstream};

use super::Result;
use super::api::Api;

/// Bytes of a `Scratch`, and where in it `delta` is.
const SIZE: usize = 16;
const DELTA: u64 = 12;

/// A `Scratch` in GPU memory.
pub struct Scratch {
    memory: CUdeviceptr,
    /// Behind the last kernels that use it.
    event: usize,
    /// Where those are.
    stream: usize,
}

/// The pieces of one context that no call has at the moment; the kernels of the last one need not have run.
pub struct Pool {
    api: &'static Api,
    free: Mutex<Vec<Scratch>>,
}

impl Pool {
    pub fn new(api: &'static Api) -> Pool {
        Pool { api, free: Mutex::default() }
    }

    /// A piece for kernels on this stream, which waits for none of another stream's.
    pub fn take(&self, stream: CUstream) -> Result<Scratch> {
        let Some(scratch) = self.free_for(stream) else { return self.allocate(stream) };
        let event = scratch.event as CUevent;
        let flags = CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT as u32;
        // The stream's own order would do, were it not that a stream may have the address of one that is gone.
        // SAFETY: an event of this context, and the caller's stream.
        self.api.check(unsafe { (self.api.cuStreamWaitEvent)(stream, event, flags) }, "waiting for scratch memory")?;
        Ok(scratch)
    }

    fn free_for(&self, stream: CUstream) -> Option<Scratch> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: events of this context.
        let is_done = |scratch: &Scratch| unsafe { (self.api.cuEventQuery)(scratch.event as CUevent) } == 0;
        let own = free.iter().rposition(|scratch| scratch.stream == stream as usize);
        own.or_else(|| free.iter().position(is_done)).map(|at| free.swap_remove(at))
    }

    fn allocate(&self, stream: CUstream) -> Result<Scratch> {
        let api = self.api;
        let (mut event, mut memory) = (ptr::null_mut(), 0);
        let flags = CUevent_flags::CU_EVENT_DISABLE_TIMING as u32;
        // SAFETY: places for handles; as many bytes are set as are there, before any kernel on this stream.
        unsafe {
            api.check((api.cuEventCreate)(&raw mut event, flags), "making an event")?;
            api.check((api.cuMemAlloc_v2)(&raw mut memory, SIZE), "allocating scratch memory")?;
            api.check((api.cuMemsetD8Async)(memory, 0, SIZE, stream), "clearing scratch memory")?;
        }
        Ok(Scratch { memory, event: event as usize, stream: stream as usize })
    }

    /// Takes a piece back whose kernels are on this stream.
    pub fn give_back(&self, scratch: Scratch, stream: CUstream) -> Result<()> {
        // SAFETY: an event of this context, and the caller's stream.
        self.api.check(unsafe { (self.api.cuEventRecord)(scratch.event as CUevent, stream) }, "recording an event")?;
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.push(Scratch { stream: stream as usize, ..scratch });
        Ok(())
    }

    /// The delta that a range pass on this stream has left; waits for the stream.
    pub fn delta(&self, scratch: &Scratch, stream: CUstream) -> Result<i32> {
        let api = self.api;
        let mut delta = 0i32;
        let place = (&raw mut delta).cast();
        // SAFETY: the place is written before the synchronisation ends, and outlives it.
        unsafe {
            api.check((api.cuMemcpyDtoHAsync_v2)(place, scratch.memory + DELTA, 4, stream), "reading the range")?;
            api.check((api.cuStreamSynchronize)(stream), "waiting for the GPU")?;
        }
        Ok(delta)
    }
}

impl Scratch {
    pub fn memory(&self) -> CUdeviceptr {
        self.memory
    }
}
