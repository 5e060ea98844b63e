output "settings" {
  description = "What the processes are started with."
  value = {
    ORCHESTRAI_LAKE_URL     = "s3://${module.bucket["lake"].id}/"
    ORCHESTRAI_VAULT_URL    = "s3://${module.bucket["vault"].id}/"
    ORCHESTRAI_COMPUTE_LOGS = "s3://${module.bucket["logs"].id}/dagster"
    ORCHESTRAI_INSTANCE_DB  = "awssm://${aws_secretsmanager_secret.instance_db.name}"
  }
}

output "arrivals_queue" {
  value = aws_sqs_queue.arrivals.url
}

output "role_arns" {
  value = { for name, role in merge(aws_iam_role.role, aws_iam_role.service) : name => role.arn }
}

output "image_repository" {
  value = aws_ecr_repository.image.repository_url
}
