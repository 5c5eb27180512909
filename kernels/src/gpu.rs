//! WebGPU.
//!
//! burn's matrix product stages tiles in workgroup memory, in tiles made for large matrices.
//! A prompt is a few rows, and a software adapter pays for every barrier: here each invocation computes a tile of its
//! own, 8 rows by 8 columns, straight from the buffers.
//! One pipeline serves every prompt length: the number of rows is read from the output's size.
//! Weights may be held in f16: they are read two at a time from 32 bits, which every adapter can, also one without `shader-f16`.

use std::fmt::Write;

use burn::tensor::{DType, Int, Tensor, TensorPrimitive, activation};
use burn_wgpu::{AutoCompiler, CubeDim, CubeTensor, Wgpu, WgpuRuntime};
use cubecl::{
    CompilationError, Compiler, CubeTask,
    ir::StorageType,
    prelude::{CompiledKernel, CubeCount, ExecutionMode, KernelId, KernelMetadata},
    server::KernelArguments,
};
use swivel_core::kernel::{self, Kernels};

/// Kernels for WebGPU.
pub const GPU: Kernels<Wgpu> = Kernels {
    linear,
    rows,
    hold: |weight| weight,
    gelu_new,
    silu: activation::silu,
    rms_norm: kernel::rms_norm,
    rotate: kernel::rotate,
    heads: kernel::heads,
    join_heads: kernel::join_heads,
    causal: kernel::causal_mask,
    softmax: |x| activation::softmax(x, 3),
};

/// Invocations of a workgroup.
const WIDTH: usize = 8;
const HEIGHT: usize = 4;

/// One generated shader.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Kernel {
    /// Weight `[d_input, d_output]`, both multiples of 4; tiles of `rows` by 8.
    Linear {
        d_input: usize,
        d_output: usize,
        rows: usize,
        bias: bool,
        held: Held,
    },
    /// Weight stored as `[d_output, d_input]`, no bias, `d_input` a multiple of 4; tiles of `rows` by 4.
    LinearTransposed {
        d_input: usize,
        d_output: usize,
        rows: usize,
        held: Held,
    },
    /// Rows of a table in f16, `width` values each that are `strides` apart, as f32; one value per invocation. The rows are those of
    /// `ids`, or all of them in their order.
    Rows {
        width: usize,
        strides: [usize; 2],
        ids: bool,
    },
    /// GELU of 4 values per invocation.
    Gelu,
}

/// Number format of weights in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Held {
    F32,
    F16,
}

impl Held {
    /// `None` if the kernels do not read it.
    fn of(dtype: DType) -> Option<Self> {
        match dtype {
            DType::F32 => Some(Self::F32),
            DType::F16 => Some(Self::F16),
            _ => None,
        }
    }

    /// WGSL's type of 4 values in a buffer.
    fn vector(self) -> &'static str {
        match self {
            Self::F32 => "vec4f",
            Self::F16 => "vec2u",
        }
    }

    /// WGSL that reads 4 values as numbers.
    fn read(self, vector: &str) -> String {
        match self {
            Self::F32 => vector.to_owned(),
            Self::F16 => format!("widened({vector})"),
        }
    }
}

fn linear(
    x: Tensor<Wgpu, 3>,
    weight: Tensor<Wgpu, 2>,
    bias: Option<Tensor<Wgpu, 1>>,
) -> Tensor<Wgpu, 3> {
    let ([batch, pos, d_input], [_, d_output]) = (x.dims(), weight.dims());
    let n_rows = batch * pos;
    let rows = [1, 2, 4]
        .into_iter()
        .find(|rows| n_rows <= *rows)
        .unwrap_or(8);
    let w = weight.clone().into_primitive().tensor();
    let input = x.clone().into_primitive().tensor();
    let is_transposed = w.meta.strides()[0] == 1 && w.meta.strides()[1] == d_input;
    let (kernel, columns) = match Held::of(w.dtype) {
        Some(held) if !d_input.is_multiple_of(4) || !input.is_contiguous() => {
            return by_burn(x, weight, bias, held);
        }
        Some(held) if is_transposed && bias.is_none() => {
            let kernel = Kernel::LinearTransposed {
                d_input,
                d_output,
                rows,
                held,
            };
            (kernel, 4)
        }
        Some(held) if w.is_contiguous() && d_output.is_multiple_of(4) => {
            let kernel = Kernel::Linear {
                d_input,
                d_output,
                rows,
                bias: bias.is_some(),
                held,
            };
            (kernel, 8)
        }
        Some(held) => return by_burn(x, weight, bias, held),
        None => return kernel::linear(x, weight, bias),
    };
    let out = empty_like(&input, DType::F32, [batch, pos, d_output]);
    let mut buffers = vec![input, w];
    buffers.extend(bias.map(|bias| bias.into_primitive().tensor()));
    buffers.push(out.clone());
    let count = CubeCount::Static(
        d_output.div_ceil(columns * WIDTH) as u32,
        n_rows.div_ceil(rows * HEIGHT) as u32,
        1,
    );
    launch(kernel, count, buffers);
    Tensor::from_primitive(TensorPrimitive::Float(out))
}

/// What our products do not take, with weights that burn's take on any adapter.
fn by_burn(
    x: Tensor<Wgpu, 3>,
    weight: Tensor<Wgpu, 2>,
    bias: Option<Tensor<Wgpu, 1>>,
    held: Held,
) -> Tensor<Wgpu, 3> {
    let weight = match held {
        Held::F32 => weight,
        Held::F16 => widened(weight, None),
    };
    kernel::linear(x, weight, bias)
}

fn rows(table: Tensor<Wgpu, 2>, ids: Tensor<Wgpu, 1, Int>) -> Tensor<Wgpu, 2> {
    let numbers = ids.clone().into_primitive();
    if table.dtype() != DType::F16 || numbers.dtype != DType::I32 || !numbers.is_contiguous() {
        return kernel::rows(table, ids);
    }
    widened(table, Some(numbers))
}

/// A table in f16 as f32: rows of it, or all.
fn widened(table: Tensor<Wgpu, 2>, ids: Option<CubeTensor<WgpuRuntime>>) -> Tensor<Wgpu, 2> {
    let [n, width] = table.dims();
    let n_rows = ids.as_ref().map_or(n, |ids| ids.meta.shape()[0]);
    let table = table.into_primitive().tensor();
    let kernel = Kernel::Rows {
        width,
        strides: [table.meta.strides()[0], table.meta.strides()[1]],
        ids: ids.is_some(),
    };
    let out = empty_like(&table, DType::F32, [n_rows, width]);
    let mut buffers = vec![table];
    buffers.extend(ids);
    buffers.push(out.clone());
    launch(kernel, n_groups(n_rows * width), buffers);
    Tensor::from_primitive(TensorPrimitive::Float(out))
}

/// Workgroups for so many invocations; at most 65,535 along an axis.
fn n_groups(n_invocations: usize) -> CubeCount {
    let n_groups = n_invocations.div_ceil(WIDTH * HEIGHT);
    let height = n_groups.div_ceil(1 << 15);
    CubeCount::Static(n_groups.div_ceil(height) as u32, height as u32, 1)
}

fn gelu_new(x: Tensor<Wgpu, 3>) -> Tensor<Wgpu, 3> {
    let shape = x.dims();
    let count = n_groups(shape.iter().product::<usize>().div_ceil(4));
    let input = x.into_primitive().tensor();
    let out = empty_like(&input, DType::F32, shape);
    launch(Kernel::Gelu, count, vec![input, out.clone()]);
    Tensor::from_primitive(TensorPrimitive::Float(out))
}

/// On the device of another.
fn empty_like<const D: usize>(
    x: &CubeTensor<WgpuRuntime>,
    dtype: DType,
    shape: [usize; D],
) -> CubeTensor<WgpuRuntime> {
    let n_bytes = shape.iter().product::<usize>() * dtype.size();
    let handle = x.client.empty(n_bytes);
    CubeTensor::new_contiguous(
        x.client.clone(),
        x.device.clone(),
        shape.into(),
        handle,
        dtype,
    )
}

fn launch(kernel: Kernel, count: CubeCount, buffers: Vec<CubeTensor<WgpuRuntime>>) {
    let client = buffers[0].client.clone();
    let buffers = buffers.into_iter().map(|x| x.handle.binding()).collect();
    let arguments = KernelArguments::new().with_buffers(buffers);
    client.launch(Box::new(kernel), count, arguments);
}

impl KernelMetadata for Kernel {
    fn id(&self) -> KernelId {
        KernelId::new::<Self>().info(self.clone())
    }

    fn address_type(&self) -> StorageType {
        cubecl::ir::ElemType::UInt(cubecl::ir::UIntKind::U32).into()
    }
}

impl CubeTask<AutoCompiler> for Kernel {
    fn compile(
        &self,
        _: &mut AutoCompiler,
        _: &<AutoCompiler as Compiler>::CompilationOptions,
        _: ExecutionMode,
        _: StorageType,
    ) -> Result<CompiledKernel<AutoCompiler>, CompilationError> {
        Ok(CompiledKernel {
            entrypoint_name: "main".to_owned(),
            debug_name: None,
            source: self.source(),
            cube_dim: CubeDim::new_2d(WIDTH as u32, HEIGHT as u32),
            debug_info: None,
            repr: None,
        })
    }
}

impl Kernel {
    /// WGSL. Every buffer is `read_write`: several may lie in one allocation, which has one usage in a dispatch.
    fn source(&self) -> String {
        match *self {
            Kernel::Linear {
                d_input,
                d_output,
                rows,
                bias,
                held,
            } => linear_source([d_input, d_output], rows, bias, held),
            Kernel::LinearTransposed {
                d_input,
                d_output,
                rows,
                held,
            } => transposed_source([d_input, d_output], rows, held),
            Kernel::Rows {
                width,
                strides,
                ids,
            } => rows_source(width, strides, ids),
            Kernel::Gelu => gelu_source(),
        }
    }
}

fn header(buffers: &[(&str, &str)]) -> String {
    let mut source = String::new();
    for (binding, (name, of)) in buffers.iter().enumerate() {
        let _ = writeln!(
            source,
            "@group(0) @binding({binding}) var<storage, read_write> {name}: array<{of}>;"
        );
    }
    source
        + "fn widened(x: vec2u) -> vec4f { return vec4f(unpack2x16float(x.x), unpack2x16float(x.y)); }\n"
        + &format!(
            "@compute @workgroup_size({WIDTH}, {HEIGHT}, 1)\nfn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) count: vec3u) {{\n"
        )
}

fn linear_source([d_input, d_output]: [usize; 2], rows: usize, bias: bool, held: Held) -> String {
    let (k_end, width) = (d_input / 4, d_output / 4); // in vectors of 4
    let mut buffers = vec![("x", "vec4f"), ("weight", held.vector())];
    buffers.extend(bias.then_some(("bias", "vec4f")));
    buffers.push(("out", "vec4f"));
    let mut s = header(&buffers);
    let _ = writeln!(
        s,
        "let n_rows = arrayLength(&out) / {width}u;
        let column0 = id.x * 2u;
        if (column0 >= {width}u || id.y * {rows}u >= n_rows) {{ return; }}
        let column1 = min(column0 + 1u, {}u);",
        width - 1
    );
    for i in 0..rows {
        let _ = writeln!(s, "let row{i} = min(id.y * {rows}u + {i}u, n_rows - 1u);");
        for j in 0..2 {
            let start = if bias {
                format!("bias[column{j}]")
            } else {
                "vec4f()".to_owned()
            };
            let _ = writeln!(s, "var sum{i}_{j} = {start};");
        }
    }
    let _ = writeln!(s, "for (var k = 0u; k < {k_end}u; k += 1u) {{");
    for i in 0..rows {
        let _ = writeln!(s, "let x{i} = x[row{i} * {k_end}u + k];");
    }
    for (part, component) in ["x", "y", "z", "w"].into_iter().enumerate() {
        for j in 0..2 {
            let read = format!("weight[(4u * k + {part}u) * {width}u + column{j}]");
            let _ = writeln!(s, "let w{part}_{j} = {};", held.read(&read));
            for i in 0..rows {
                let _ = writeln!(
                    s,
                    "sum{i}_{j} = fma(vec4f(x{i}.{component}), w{part}_{j}, sum{i}_{j});"
                );
            }
        }
    }
    s += "}\n";
    // Clamped rows and columns write what their neighbour writes.
    for i in 0..rows {
        for j in 0..2 {
            let _ = writeln!(s, "out[row{i} * {width}u + column{j}] = sum{i}_{j};");
        }
    }
    s + "}\n"
}

fn transposed_source([d_input, d_output]: [usize; 2], rows: usize, held: Held) -> String {
    let k_end = d_input / 4; // in vectors of 4
    let mut s = header(&[("x", "vec4f"), ("weight", held.vector()), ("out", "f32")]);
    let _ = writeln!(
        s,
        "let n_rows = arrayLength(&out) / {d_output}u;
        if (id.x * 4u >= {d_output}u || id.y * {rows}u >= n_rows) {{ return; }}"
    );
    for j in 0..4 {
        let _ = writeln!(
            s,
            "let column{j} = min(id.x * 4u + {j}u, {}u);",
            d_output - 1
        );
    }
    for i in 0..rows {
        let _ = writeln!(s, "let row{i} = min(id.y * {rows}u + {i}u, n_rows - 1u);");
        let _ = writeln!(s, "var sum{i} = vec4f();");
    }
    let _ = writeln!(s, "for (var k = 0u; k < {k_end}u; k += 1u) {{");
    for j in 0..4 {
        let read = held.read(&format!("weight[column{j} * {k_end}u + k]"));
        let _ = writeln!(s, "let w{j} = {read};");
    }
    for i in 0..rows {
        let _ = writeln!(
            s,
            "let x{i} = x[row{i} * {k_end}u + k];
            sum{i} += vec4f(dot(x{i}, w0), dot(x{i}, w1), dot(x{i}, w2), dot(x{i}, w3));"
        );
    }
    s += "}\n";
    for i in 0..rows {
        for (j, component) in ["x", "y", "z", "w"].into_iter().enumerate() {
            let _ = writeln!(
                s,
                "out[row{i} * {d_output}u + column{j}] = sum{i}.{component};"
            );
        }
    }
    s + "}\n"
}

fn rows_source(width: usize, [row_stride, column_stride]: [usize; 2], ids: bool) -> String {
    let mut buffers = vec![("table", "u32")];
    buffers.extend(ids.then_some(("ids", "i32")));
    buffers.push(("out", "f32"));
    let row = match ids {
        true => "u32(ids[row])",
        false => "row",
    };
    header(&buffers)
        + &format!(
            "let i = id.x + {WIDTH}u * count.x * id.y;
            if (i >= arrayLength(&out)) {{ return; }}
            let row = i / {width}u;
            let at = {row} * {row_stride}u + i % {width}u * {column_stride}u;
            out[i] = unpack2x16float(table[at / 2u])[at % 2u];
        }}\n"
        )
}

fn gelu_source() -> String {
    header(&[("x", "f32"), ("out", "f32")])
        + &format!(
            "let start = 4u * (id.x + {WIDTH}u * count.x * id.y);
            for (var i = start; i < min(start + 4u, arrayLength(&out)); i += 1u) {{
                let v = x[i];
                let u = v * (1.5957691216 + 0.0713548162726 * v * v);
                out[i] = v / (1.0 + exp(min(-u, 80.0)));
            }}
        }}\n"
        )
}
