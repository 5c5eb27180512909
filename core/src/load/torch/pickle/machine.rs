//! The instructions of a pickle that state dicts are made with.

use std::collections::BTreeMap;

use super::{GLOBALS, Global, Tensor, Value, unexpected};
use crate::load::{TensorError, bytes::Bytes, gguf::MAX_DIMS};

/// The machine, while it runs.
pub(super) struct Machine<'a> {
    bytes: Bytes<'a>,
    /// All values that were ever made.
    values: Vec<Value<'a>>,
    stack: Vec<usize>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: BTreeMap<u32, usize>,
}

impl<'a> Machine<'a> {
    /// Runs a pickle to its end; returns all values, and which of them is on top then.
    ///
    /// # Errors
    /// - [`TensorError::Global`] if it names something that is not in [`GLOBALS`].
    /// - [`TensorError::Torch`] if it is damaged, or has instructions that no state dict needs.
    pub(super) fn run(pickle: &'a [u8]) -> Result<(Vec<Value<'a>>, usize), TensorError> {
        let mut machine = Self {
            bytes: Bytes::new(pickle),
            values: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: BTreeMap::new(),
        };
        loop {
            match machine.operand()? {
                [b'.'] => {
                    let top = machine.pop()?;
                    return Ok((machine.values, top));
                }
                [opcode] => machine.instruction(opcode)?,
            }
        }
    }

    fn instruction(&mut self, opcode: u8) -> Result<(), TensorError> {
        match opcode {
            0x80 => drop(self.operand::<1>()?), // version of the protocol
            0x95 => drop(self.operand::<8>()?), // length of a frame
            b'(' => self.marks.push(self.stack.len()),
            b'N' | 0x88 | 0x89 => self.push(Value::Plain),
            b'G' => {
                self.operand::<8>()?;
                self.push(Value::Plain);
            }
            b'K' => {
                let number = u8::from_le_bytes(self.operand()?);
                self.push(Value::Int(number.into()));
            }
            b'M' => {
                let number = u16::from_le_bytes(self.operand()?);
                self.push(Value::Int(number.into()));
            }
            b'J' => {
                let number = i32::from_le_bytes(self.operand()?);
                self.push(Value::Int(number.into()));
            }
            0x8a => self.long()?,
            0x8c => {
                let [n_bytes] = self.operand()?;
                self.text(n_bytes.into())?;
            }
            b'X' => {
                let n_bytes = u32::from_le_bytes(self.operand()?);
                self.text(n_bytes)?;
            }
            b')' | b']' => self.push(Value::List(Vec::new())),
            b'}' => self.push(Value::Dict(Vec::new())),
            0x85..=0x87 => self.tuple(usize::from(opcode - 0x84))?,
            b't' => {
                let items = self.since_mark()?;
                self.push(Value::List(items));
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.since_mark()?;
                self.append(items)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set(&[key, value])?;
            }
            b'u' => {
                let items = self.since_mark()?;
                self.set(&items)?;
            }
            b'q' => {
                let [idx] = self.operand()?;
                self.keep(idx.into())?;
            }
            b'r' => {
                let idx = u32::from_le_bytes(self.operand()?);
                self.keep(idx)?;
            }
            0x94 => self.keep(self.memo.len() as u32)?,
            b'h' => {
                let [idx] = self.operand()?;
                self.recall(idx.into())?;
            }
            b'j' => {
                let idx = u32::from_le_bytes(self.operand()?);
                self.recall(idx)?;
            }
            b'c' | b'i' => {
                let [module, name] = [self.line()?, self.line()?];
                self.global(module, name)?;
                if opcode == b'i' {
                    return Err(unexpected("instructions for a state dict", "INST"));
                }
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (&self.values[module], &self.values[name]) {
                    (Value::Text(module), Value::Text(name)) => self.global(module, name)?,
                    _ => return Err(unexpected("a name as two texts", "other values")),
                }
            }
            b'Q' => self.storage()?,
            b'R' => self.call()?,
            b'b' => self.build()?,
            other => {
                let found = format!("{other:#04x} {:?}", char::from(other));
                return Err(unexpected("instructions for a state dict", found));
            }
        }
        Ok(())
    }

    fn operand<const N: usize>(&mut self) -> Result<[u8; N], TensorError> {
        self.bytes.array().map_err(|_| cut())
    }

    fn line(&mut self) -> Result<&'a str, TensorError> {
        utf8(self.bytes.line().map_err(|_| cut())?)
    }

    fn push(&mut self, value: Value<'a>) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    fn pop(&mut self) -> Result<usize, TensorError> {
        // What lies below a mark is out of reach until the mark is gone.
        let floor = self.marks.last().copied().unwrap_or_default();
        match self.stack.len() > floor {
            true => self.stack.pop().ok_or_else(empty),
            false => Err(empty()),
        }
    }

    fn since_mark(&mut self) -> Result<Vec<usize>, TensorError> {
        let mark = self.marks.pop().ok_or_else(empty)?;
        Ok(self.stack.drain(mark..).collect())
    }

    fn top(&mut self) -> Result<usize, TensorError> {
        let top = self.pop()?;
        self.stack.push(top);
        Ok(top)
    }

    /// A whole number in as many bytes as it has.
    fn long(&mut self) -> Result<(), TensorError> {
        let [n_bytes] = self.operand()?;
        let bytes = self.bytes.take(n_bytes.into()).map_err(|_| cut())?;
        let sign = match bytes.last() {
            Some(128..) => 0xff,
            _ => 0,
        };
        let mut number = [sign; 8];
        let Some(low) = number.get_mut(..bytes.len()) else {
            let found = format!("one of {n_bytes}");
            return Err(unexpected("a number of at most 8 bytes", found));
        };
        low.copy_from_slice(bytes);
        self.push(Value::Int(i64::from_le_bytes(number)));
        Ok(())
    }

    fn text(&mut self, n_bytes: u32) -> Result<(), TensorError> {
        let bytes = self.bytes.take(n_bytes.into()).map_err(|_| cut())?;
        self.push(Value::Text(utf8(bytes)?));
        Ok(())
    }

    fn tuple(&mut self, n: usize) -> Result<(), TensorError> {
        let mut items = Vec::new();
        for _ in 0..n {
            items.push(self.pop()?);
        }
        items.reverse();
        self.push(Value::List(items));
        Ok(())
    }

    fn append(&mut self, items: Vec<usize>) -> Result<(), TensorError> {
        let top = self.top()?;
        match &mut self.values[top] {
            Value::List(list) => list.extend(items),
            _ => return Err(unexpected("a list to append to", "another value")),
        }
        Ok(())
    }

    /// Sets keys and values, in turn.
    fn set(&mut self, items: &[usize]) -> Result<(), TensorError> {
        let top = self.top()?;
        match (&mut self.values[top], items.as_chunks()) {
            (Value::Dict(entries), (pairs, [])) => entries.extend(pairs),
            _ => return Err(unexpected("a table and pairs for it", "other values")),
        }
        Ok(())
    }

    fn keep(&mut self, idx: u32) -> Result<(), TensorError> {
        let top = self.top()?;
        self.memo.insert(idx, top);
        Ok(())
    }

    fn recall(&mut self, idx: u32) -> Result<(), TensorError> {
        let kept = self.memo.get(&idx).copied();
        self.stack
            .push(kept.ok_or_else(|| unexpected("a value that was kept", "none"))?);
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Result<(), TensorError> {
        let mut known = GLOBALS.iter();
        match known.find(|global| (global.0, global.1) == (module, name)) {
            Some((.., global)) => {
                self.push(Value::Global(*global));
                Ok(())
            }
            None => Err(TensorError::Global {
                name: format!("{module}.{name}"),
            }),
        }
    }

    /// A persistent id, which of a tensor's values says: `("storage", type, key, device, number of values)`.
    fn storage(&mut self) -> Result<(), TensorError> {
        let id = self.pop()?;
        let known = match self.list(id) {
            Some(&[kind, numbers, key, _, _]) => {
                match [kind, numbers, key].map(|idx| &self.values[idx]) {
                    [
                        Value::Text("storage"),
                        Value::Global(Global::Storage(numbers)),
                        Value::Text(key),
                    ] => Some(Value::Storage(*numbers, key)),
                    _ => None,
                }
            }
            _ => None,
        };
        self.push(known.ok_or_else(|| unexpected("a storage's id", "another one"))?);
        Ok(())
    }

    /// What a call would give.
    fn call(&mut self) -> Result<(), TensorError> {
        let (arguments, callee) = (self.pop()?, self.pop()?);
        let (Value::Global(callee), Some(arguments)) = (&self.values[callee], self.list(arguments))
        else {
            return Err(unexpected("a call of a name", "another one"));
        };
        match (callee, arguments) {
            (Global::OrderedDict, []) => self.push(Value::Dict(Vec::new())),
            (Global::RebuildTensor, arguments) => {
                let tensor = self.tensor(arguments)?;
                self.push(Value::Tensor(Box::new(tensor)));
            }
            (Global::RebuildParameter, &[tensor, _, _])
                if matches!(self.values[tensor], Value::Tensor(_)) =>
            {
                self.stack.push(tensor);
            }
            (callee, _) => {
                let found = format!("{callee:?} with other arguments");
                return Err(unexpected("a call as torch writes it", found));
            }
        }
        Ok(())
    }

    /// Arguments: storage, offset, shape, strides, whether a gradient is wanted, hooks, and at times what is special.
    fn tensor(&self, arguments: &[usize]) -> Result<Tensor<'a>, TensorError> {
        let wrong = || unexpected("arguments of a tensor as torch writes them", "others");
        let (&[storage, offset, shape, strides, _, _], special) =
            arguments.split_first_chunk().ok_or_else(wrong)?;
        // Set for tensors whose values are to be negated or conjugated.
        let is_special = match special {
            [] => false,
            [special] => match &self.values[*special] {
                Value::Plain => false,
                Value::Dict(special) => !special.is_empty(),
                _ => true,
            },
            _ => true,
        };
        if is_special {
            let found = "ones to be negated or conjugated; save it after `.resolve_neg()`";
            return Err(unexpected("a tensor's values as they are", found));
        }
        let Value::Storage(numbers, key) = &self.values[storage] else {
            return Err(wrong());
        };
        Ok(Tensor {
            numbers: *numbers,
            key,
            offset: self.size(offset).ok_or_else(wrong)?,
            shape: self.sizes(shape).ok_or_else(wrong)?,
            strides: self.sizes(strides).ok_or_else(wrong)?,
        })
    }

    fn list(&self, idx: usize) -> Option<&[usize]> {
        match &self.values[idx] {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    fn size(&self, idx: usize) -> Option<u64> {
        match self.values[idx] {
            Value::Int(size) => u64::try_from(size).ok(),
            _ => None,
        }
    }

    fn sizes(&self, idx: usize) -> Option<Vec<u64>> {
        let sizes = self
            .list(idx)
            .filter(|list| list.len() <= MAX_DIMS as usize)?;
        sizes.iter().map(|idx| self.size(*idx)).collect()
    }

    /// Sets what an object remembers beside its entries: of an ordered table, its own notes, which are left out.
    fn build(&mut self) -> Result<(), TensorError> {
        self.pop()?;
        let top = self.top()?;
        match self.values[top] {
            Value::Dict(_) => Ok(()),
            _ => Err(unexpected("a table to set up", "another value")),
        }
    }
}

fn cut() -> TensorError {
    unexpected("more bytes", "its end")
}

fn empty() -> TensorError {
    unexpected("a value on the stack", "none")
}

fn utf8(bytes: &[u8]) -> Result<&str, TensorError> {
    std::str::from_utf8(bytes).map_err(|_| unexpected("text in UTF-8", "other bytes"))
}
