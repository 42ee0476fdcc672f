//! What a pass reads and rewrites.

/// A tensor and where its quantised values go: in its own place, or into another tensor.
pub struct Tensor<'a, T> {
    /// None: in place.
    source: Option<&'a [T]>,
    destination: &'a mut [T],
}

impl<'a, T> Tensor<'a, T> {
    /// Quantised values take the place of the others.
    pub fn in_place(data: &'a mut [T]) -> Tensor<'a, T> {
        Tensor { source: None, destination: data }
    }

    /// `source` stays as it is.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn into(source: &'a [T], destination: &'a mut [T]) -> Tensor<'a, T> {
        assert_eq!(source.len(), destination.len());
        Tensor { source: Some(source), destination }
    }

    /// The values to quantise.
    pub fn source(&self) -> &[T] {
        self.source.unwrap_or(self.destination)
    }

    /// Writes each value's `f`.
    pub fn each(&mut self, f: impl Fn(T) -> T)
    where
        T: Copy,
    {
        match self.source {
            None => self.destination.iter_mut().for_each(|x| *x = f(*x)),
            Some(source) => self.destination.iter_mut().zip(source).for_each(|(y, &x)| *y = f(x)),
        }
    }

    /// Where values are read, where they are written, and how many: the same place, or two that do not overlap.
    pub fn as_pointers(&mut self) -> (*const T, *mut T, usize) {
        let (start, len) = (self.destination.as_mut_ptr(), self.destination.len());
        (self.source.map_or(start.cast_const(), <[T]>::as_ptr), start, len)
    }

    /// In parts of `len` values; the last may be shorter.
    pub fn parts(self, len: usize) -> impl Iterator<Item = Tensor<'a, T>> {
        let mut sources = self.source.map(|source| source.chunks(len));
        self.destination
            .chunks_mut(len)
            .map(move |destination| Tensor { source: sources.as_mut().and_then(Iterator::next), destination })
    }
}
