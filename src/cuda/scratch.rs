//! GPU memory in which a call's range kernel leaves the delta for its apply kernel.

use std::ptr;
use std::sync::{Mutex, PoisonError};

use cudarc::driver::sys::{CUdeviceptr, CUevent, CUevent_flags, CUevent_wait_flags, CUstream};

use super::api::Api;
use super::error::Result;

/// Bytes of the struct `Scratch` in quantise.cu.
const SIZE: usize = 16;
/// The offset of `delta` in it.
const DELTA: u64 = 12;

/// A piece of scratch memory: a struct `Scratch` of quantise.cu in GPU memory.
pub(super) struct Scratch {
    memory: CUdeviceptr,
    /// The handle of an event, recorded behind the last kernels that use the piece.
    event: usize,
    /// The handle of the stream that those kernels are on.
    stream: usize,
}

/// One context's pieces of scratch memory.
pub(super) struct Pool {
    api: &'static Api,
    /// The pieces that no call has taken. Kernels of the last call that had one may still be queued or running.
    free: Mutex<Vec<Scratch>>,
}

impl Pool {
    /// An empty pool; pieces are allocated when needed.
    pub(super) fn new(api: &'static Api) -> Pool {
        Pool { api, free: Mutex::default() }
    }

    /// Takes a piece for kernels on this stream. They never wait for kernels of another stream that have yet to run.
    pub(super) fn take(&self, stream: CUstream) -> Result<Scratch> {
        let Some(scratch) = self.free_for(stream) else { return self.allocate(stream) };
        let event = scratch.event as CUevent;
        let flags = CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT as u32;
        // Needed although a piece is reused on its own stream only or after its kernels: the stream may be a new one at
        // the address of a destroyed one, which orders nothing.
        // SAFETY: the event is of this context, and the stream is the caller's.
        self.api.check(unsafe { (self.api.cuStreamWaitEvent)(stream, event, flags) }, "waiting for scratch memory")?;
        Ok(scratch)
    }

    /// A free piece that was last used on this stream, or else one whose kernels have run.
    fn free_for(&self, stream: CUstream) -> Option<Scratch> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the events are of this context.
        let is_done = |scratch: &Scratch| unsafe { (self.api.cuEventQuery)(scratch.event as CUevent) } == 0;
        let own = free.iter().rposition(|scratch| scratch.stream == stream as usize);
        own.or_else(|| free.iter().position(is_done)).map(|at| free.swap_remove(at))
    }

    /// A new piece, which is set to zero before any later kernel on this stream.
    fn allocate(&self, stream: CUstream) -> Result<Scratch> {
        let api = self.api;
        let (mut event, mut memory) = (ptr::null_mut(), 0);
        let flags = CUevent_flags::CU_EVENT_DISABLE_TIMING as u32;
        // SAFETY: the pointers are to handles, and the bytes set are those allocated.
        unsafe {
            api.check((api.cuEventCreate)(&raw mut event, flags), "creating an event")?;
            api.check((api.cuMemAlloc_v2)(&raw mut memory, SIZE), "allocating scratch memory")?;
            api.check((api.cuMemsetD8Async)(memory, 0, SIZE, stream), "clearing scratch memory")?;
        }
        Ok(Scratch { memory, event: event as usize, stream: stream as usize })
    }

    /// Takes back a piece that kernels on this stream use.
    pub(super) fn give_back(&self, scratch: Scratch, stream: CUstream) -> Result<()> {
        // SAFETY: the event is of this context, and the stream is the caller's.
        self.api.check(unsafe { (self.api.cuEventRecord)(scratch.event as CUevent, stream) }, "recording an event")?;
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.push(Scratch { stream: stream as usize, ..scratch });
        Ok(())
    }

    /// The delta that a range kernel on this stream has left in the piece. Waits for the stream.
    pub(super) fn delta(&self, scratch: &Scratch, stream: CUstream) -> Result<i32> {
        let api = self.api;
        let mut delta = 0i32;
        let place = (&raw mut delta).cast();
        // SAFETY: `delta` is written before the synchronisation ends, and outlives it.
        unsafe {
            api.check((api.cuMemcpyDtoHAsync_v2)(place, scratch.memory + DELTA, 4, stream), "reading the range")?;
            api.check((api.cuStreamSynchronize)(stream), "waiting for the GPU")?;
        }
        Ok(delta)
    }
}

impl Scratch {
    /// The address of the piece in GPU memory.
    pub(super) fn memory(&self) -> CUdeviceptr {
        self.memory
    }
}
