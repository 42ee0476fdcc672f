//! The source and destination of a pass.

/// A tensor to quantise, in place or into another tensor of the same length.
pub struct Tensor<'a, T> {
    /// The values to quantise; `None` if they are those in `destination`, which are quantised in place.
    source: Option<&'a [T]>,
    /// Receives the quantised values.
    destination: &'a mut [T],
}

impl<'a, T> Tensor<'a, T> {
    /// Quantises `data` in place.
    pub fn in_place(data: &'a mut [T]) -> Tensor<'a, T> {
        Tensor { source: None, destination: data }
    }

    /// Quantises `source` into `destination`; `source` stays unchanged.
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

    /// Writes `f(x)` to the destination for each value `x` of the source.
    pub fn each(&mut self, f: impl Fn(T) -> T)
    where
        T: Copy,
    {
        match self.source {
            None => self.destination.iter_mut().for_each(|x| *x = f(*x)),
            Some(source) => self.destination.iter_mut().zip(source).for_each(|(y, &x)| *y = f(x)),
        }
    }

    /// Where to read, where to write, and the number of values. The two pointers are equal or the ranges do not
    /// overlap.
    pub fn as_pointers(&mut self) -> (*const T, *mut T, usize) {
        let (start, len) = (self.destination.as_mut_ptr(), self.destination.len());
        (self.source.map_or(start.cast_const(), <[T]>::as_ptr), start, len)
    }

    /// Splits the tensor into parts of `len` values; the last one may be shorter.
    pub fn parts(self, len: usize) -> impl Iterator<Item = Tensor<'a, T>> {
        let mut sources = self.source.map(|source| source.chunks(len));
        self.destination
            .chunks_mut(len)
            .map(move |destination| Tensor { source: sources.as_mut().and_then(Iterator::next), destination })
    }
}
