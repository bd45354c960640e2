;; A program for WASI 0.1. It asks for its arguments and its environment as every libc does when a program
;; starts, prints how many there are of each, as a digit, and then its input. What fails traps.
(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $env_sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $env (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  ;; 0 a count, 4 a size, 8 a pair of address and length, 16 what was done, 32 two digits,
  ;; 4096 addresses of strings, 64 KiB the strings, 2 MiB a piece of the input.
  (memory (export "memory") 48)
  (func $must (param $errno i32) (if (local.get $errno) (then unreachable)))
  (func $at (param $address i32) (param $length i32)
    (i32.store (i32.const 8) (local.get $address))
    (i32.store (i32.const 12) (local.get $length)))
  (func $print (param $address i32) (param $length i32)
    (loop $more
      (call $at (local.get $address) (local.get $length))
      (call $must (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16)))
      (local.set $address (i32.add (local.get $address) (i32.load (i32.const 16))))
      (local.set $length (i32.sub (local.get $length) (i32.load (i32.const 16))))
      (br_if $more (local.get $length))))
  (func $digit (param $address i32)
    (i32.store8 (local.get $address) (i32.add (i32.const 48) (i32.load (i32.const 0)))))
  (func (export "_start")
    (call $must (call $args_sizes (i32.const 0) (i32.const 4)))
    (call $must (call $args (i32.const 4096) (i32.const 65536)))
    (call $digit (i32.const 32))
    (call $must (call $env_sizes (i32.const 0) (i32.const 4)))
    (call $must (call $env (i32.const 4096) (i32.const 65536)))
    (call $digit (i32.const 33))
    (call $print (i32.const 32) (i32.const 2))
    (loop $more
      (call $at (i32.const 2097152) (i32.const 65536))
      (call $must (call $read (i32.const 0) (i32.const 8) (i32.const 1) (i32.const 16)))
      (if (i32.load (i32.const 16)) (then
        (call $print (i32.const 2097152) (i32.load (i32.const 16)))
        (br $more))))))
