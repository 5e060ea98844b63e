# One bucket as all of them are: versions, encryption, nothing public; with a lock where `lock_mode` names one.
terraform {
  required_providers {
    aws = { source = "hashicorp/aws", version = "~> 6.0" }
  }
}

variable "name" {
  type        = string
  description = "Of the bucket."
}

variable "kms_key_arn" {
  type        = string
  description = "What its objects are encrypted with."
}

variable "lock_mode" {
  type        = string
  default     = ""
  description = "GOVERNANCE or COMPLIANCE; empty for a bucket without a lock. It cannot be added to a bucket later."
}

variable "lock_days" {
  type        = number
  default     = 0
  description = "How long each object stays by itself; a declared `lock` of a dataset is longer."
}

resource "aws_s3_bucket" "this" {
  bucket              = var.name
  object_lock_enabled = var.lock_mode != ""
}

resource "aws_s3_bucket_versioning" "this" {
  bucket = aws_s3_bucket.this.id
  versioning_configuration { status = "Enabled" }
}

resource "aws_s3_bucket_public_access_block" "this" {
  bucket                  = aws_s3_bucket.this.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  bucket = aws_s3_bucket.this.id
  rule {
    bucket_key_enabled = true
    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = var.kms_key_arn
    }
  }
}

resource "aws_s3_bucket_object_lock_configuration" "this" {
  count  = var.lock_mode == "" ? 0 : 1
  bucket = aws_s3_bucket.this.id
  rule {
    default_retention {
      mode = var.lock_mode
      days = var.lock_days
    }
  }
}

# replication and notifications wait for the versions, which they need
output "id" {
  value      = aws_s3_bucket.this.id
  depends_on = [aws_s3_bucket_versioning.this]
}

output "arn" {
  value      = aws_s3_bucket.this.arn
  depends_on = [aws_s3_bucket_versioning.this]
}
