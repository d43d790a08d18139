# Production: EKS, PostgreSQL 16, Redis 7, CloudFront, DNS and backups. The state lies beside this file: a rehearsal has no S3.
terraform {
  required_version = ">= 1.9"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.80"
    }
  }
}

provider "aws" {
  region              = "{{region}}"
  allowed_account_ids = ["{{account}}"]
}

locals {
  cluster_name = "{{cluster}}"
  subnets      = ["subnet-0a1b2c3d4e5f60718", "subnet-0a1b2c3d4e5f60719"]
  certificate  = "arn:aws:acm:{{region}}:{{account}}:certificate/5b1c0f0e-7d1c-4f0a-9b58-3a4be1a0c001"
}

resource "aws_eks_cluster" "production" {
  name     = local.cluster_name
  version  = "1.33"
  role_arn = "arn:aws:iam::{{account}}:role/{{cluster}}-cluster"
  vpc_config {
    subnet_ids              = local.subnets
    endpoint_private_access = true
    endpoint_public_access  = false
  }
}

resource "aws_eks_node_group" "general" {
  cluster_name    = aws_eks_cluster.production.name
  node_group_name = "general"
  node_role_arn   = "arn:aws:iam::{{account}}:role/{{cluster}}-nodes"
  subnet_ids      = local.subnets
  version         = "1.33"
  instance_types  = ["t3.medium"]
  scaling_config {
    desired_size = 2
    min_size     = 2
    max_size     = 4
  }
}

resource "aws_db_instance" "postgres" {
  identifier                = "{{project}}-production"
  engine                    = "postgres"
  engine_version            = "16.8"
  instance_class            = "db.r6g.large"
  allocated_storage         = 100
  storage_type              = "gp3"
  storage_encrypted         = true
  multi_az                  = false
  publicly_accessible       = false
  backup_retention_period   = 14
  deletion_protection       = true
  skip_final_snapshot       = false
  final_snapshot_identifier = "{{project}}-production-final"
  username                  = "{{project}}"
  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_elasticache_replication_group" "redis" {
  replication_group_id       = "{{project}}-production"
  description                = "sessions and rate limits"
  engine                     = "redis"
  engine_version             = "7.1"
  node_type                  = "cache.r6g.large"
  num_cache_clusters         = 1
  at_rest_encryption_enabled = true
  snapshot_retention_limit   = 7
  port                       = 6379
}

resource "aws_cloudfront_distribution" "web" {
  enabled             = true
  aliases             = ["{{project}}.com"]
  price_class         = "PriceClass_100"
  default_root_object = "index.html"
  origin {
    domain_name = "web.{{project}}.com"
    origin_id   = "site"
  }
  viewer_certificate {
    acm_certificate_arn      = local.certificate
    minimum_protocol_version = "TLSv1.2_2021"
    ssl_support_method       = "sni-only"
  }
}

resource "aws_cloudfront_distribution" "admin" {
  enabled             = true
  aliases             = ["admin.{{project}}.com"]
  price_class         = "PriceClass_100"
  default_root_object = "index.html"
  origin {
    domain_name = "admin-site.{{project}}.com"
    origin_id   = "site"
  }
  viewer_certificate {
    acm_certificate_arn      = local.certificate
    minimum_protocol_version = "TLSv1.2_2021"
    ssl_support_method       = "sni-only"
  }
}

resource "aws_route53_zone" "main" {
  name = "{{project}}.com"
}

resource "aws_route53_record" "web" {
  zone_id = aws_route53_zone.main.zone_id
  name    = "{{project}}.com"
  type    = "A"
  alias {
    name                   = aws_cloudfront_distribution.web.domain_name
    zone_id                = "Z2FDTNDATAQYW2"
    evaluate_target_health = false
  }
}

resource "aws_route53_record" "admin" {
  zone_id = aws_route53_zone.main.zone_id
  name    = "admin.{{project}}.com"
  type    = "A"
  alias {
    name                   = aws_cloudfront_distribution.admin.domain_name
    zone_id                = "Z2FDTNDATAQYW2"
    evaluate_target_health = false
  }
}

resource "aws_s3_bucket" "backups" {
  bucket = "{{project}}-production-backups"
}

resource "aws_s3_bucket_public_access_block" "backups" {
  bucket                  = aws_s3_bucket.backups.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

output "cluster_name" {
  value = aws_eks_cluster.production.name
}

output "cluster_arn" {
  value = aws_eks_cluster.production.arn
}

output "ecr_registry" {
  value = "{{account}}.dkr.ecr.{{region}}.amazonaws.com"
}

output "database_endpoint" {
  value = aws_db_instance.postgres.endpoint
}

output "redis_endpoint" {
  value = "${aws_elasticache_replication_group.redis.primary_endpoint_address}:6379"
}
